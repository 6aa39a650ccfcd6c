"""Saved notebooks without pictures: what is a picture goes, in whatever form; the rest stays as it was."""

import copy

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from nbconvert.exporters import get_exporter

from readingroom import saved, server, settings
from readingroom.errors import BadInput
from readingroom.viewers import view

PNG = "iVBORw0KGgo="
TABLE = "<table><tr><td>1</td></tr></table>"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["cells", "outputs", "data", "attachments", "metadata", "text/plain"]), inner)
    ),
    max_leaves=20,
)


def notebook():
    output = nbformat.v4.new_output
    return nbformat.v4.new_notebook(
        metadata={"widgets": {"application/vnd.jupyter.widget-state+json": {"state": {"pixels": PNG}}}},
        cells=[
            nbformat.v4.new_markdown_cell("![](attachment:a.png)", attachments={"a.png": {"image/png": PNG}}),
            nbformat.v4.new_code_cell(
                "view",
                outputs=[
                    output("display_data", {"image/png": PNG, "text/plain": "slice 3 of 9"}),
                    output("display_data", {"image/svg+xml": "<svg/>"}),
                    output("display_data", {"text/html": ["<img ", f"src='data:image/png;base64,{PNG}'>"]}),
                    output("execute_result", {"text/html": TABLE, "text/plain": "1"}, execution_count=1),
                    output("stream", name="stdout", text="mean 12"),
                ],
            ),
        ],
    )


def test_pictures_go_and_the_rest_stays():
    made = notebook()
    saved.without_pictures(made)
    nbformat.validate(made)
    text = nbformat.writes(made)
    assert PNG not in text
    assert "svg" not in text
    first, second, third, fourth, last = made.cells[1].outputs
    assert first.data == {"text/plain": "slice 3 of 9"}
    assert second.data == third.data == {"text/plain": saved._TOLD}
    assert fourth.data == {"text/html": TABLE, "text/plain": "1"}
    assert last.text == "mean 12"
    again = copy.deepcopy(made)
    saved.without_pictures(again)
    assert again == made


@given(JSON)
def test_whatever_is_saved_can_be_saved(found):
    saved.without_pictures(found)


def test_a_server_strips_only_where_the_project_says_so(monkeypatch):
    hook = "pre_save_hook"
    monkeypatch.delenv("READINGROOM_PICTURES", raising=False)
    assert hook not in server.configuration("t").FileContentsManager
    monkeypatch.setenv("READINGROOM_PICTURES", "none")
    made = notebook()
    model = {"type": "notebook", "content": made}
    server.configuration("t").FileContentsManager[hook](model, path="a.ipynb", contents_manager=None)
    assert PNG not in nbformat.writes(made)
    text = {"type": "file", "content": PNG}
    server.keep_no_pictures(text, path="a.txt", contents_manager=None)
    assert text["content"] == PNG


def test_a_view_keeps_what_the_project_allows(monkeypatch):
    array = [[1, 2], [3, 4]]
    monkeypatch.setenv("READINGROOM_PICTURES", "none")
    assert settings.pictures() == "none"
    assert "image/png" not in view(array)._repr_mimebundle_()[0]
    assert "image/png" in view(array, static="png")._repr_mimebundle_()[0]
    monkeypatch.setenv("READINGROOM_PICTURES", "all")
    assert "image/png" in view(array)._repr_mimebundle_()[0]
    with pytest.raises(BadInput, match="give 'png'"):
        view(array, static="gif")


def test_html_from_the_servers_menu_has_the_alternative_texts(tmp_path, monkeypatch):
    config = server.configuration("t")
    # A template is code: none is taken from where the server happened to be started.
    monkeypatch.chdir(tmp_path)
    for name in ("readingroom", "lab"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html.j2").write_text("planted")
    live, metadata = view(np.zeros((2, 20, 30), np.int16))._repr_mimebundle_()
    words = live["text/plain"]
    output = nbformat.v4.new_output
    made = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(
                "view",
                outputs=[
                    output("display_data", live, metadata=metadata),
                    output(
                        "display_data", {"image/png": PNG}, metadata={"image/png": {"alt": 'a "b" <i>', "width": 7}}
                    ),
                    output("display_data", {"image/png": PNG}),
                ],
            )
        ]
    )
    found, _ = get_exporter("html")(config=config).from_notebook_node(made)
    images = BeautifulSoup(found, "html.parser").find_all("img")
    assert [one["alt"] for one in images] == [words, 'a "b" <i>', "No description has been provided for this image"]
    assert images[0]["src"].endswith(live["image/png"])
    assert images[1]["width"] == "7"
    for name in ("slides", "webpdf", "markdown"):
        assert get_exporter(name)(config=config).template_name == get_exporter(name)().template_name
