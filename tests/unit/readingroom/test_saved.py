"""Saved notebooks without pictures: what is a picture goes, in whatever form; the rest stays as it was."""

import copy

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
