"""Filters, counts, thumbnails and what a saved page keeps; the grid in a browser is in tests/e2e."""

import numpy as np
import pydicom
import pytest
import traitlets
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import ComprehensiveSRStorage
from tests.support.dicom_series import ct, instance, phantom, write_index, write_series

from readingroom.data import dataset
from readingroom.errors import BadInput, NotAVolume, NotFound
from readingroom.index import SeriesRow
from readingroom.viewers.found import FACETS, Findable
from readingroom.viewers.thumbnails import Kept

values = st.sampled_from(["", "1", "10", "2.5", "x"])
rows = st.builds(
    SeriesRow,
    **{
        name: values if name in {*FACETS, "description"} else st.just(0 if kind in {"int", int} else "")
        for name, kind in SeriesRow.__annotations__.items()
    },
)


@given(
    st.lists(rows, max_size=30),
    st.dictionaries(st.sampled_from(list(FACETS)), st.lists(values, max_size=3)),
    st.sampled_from(["", "x", "1 0"]),
)
def test_found_are_those_that_fit_every_filter_and_every_word(series, filters, search):
    def fits(row, ignored=None):
        words = f"{row.description}\n{row.patient}\n{row.study}\n{row.series}"
        return all(getattr(row, n) in c for n, c in filters.items() if c and n != ignored) and all(
            w in words for w in search.split()
        )

    matched, counts = Findable(series).matching(filters, search)
    assert [series[i] for i in matched] == [row for row in series if fits(row)]
    for name, found in counts.items():
        left = [getattr(row, name) for row in series if fits(row, name)]
        assert {value: count for value, count in found if count} == {value: left.count(value) for value in left}


def test_values_are_in_the_order_of_numbers():
    one = dict.fromkeys(SeriesRow.__annotations__, "")
    made = [SeriesRow(**{**one, "thickness": t, "age": a}) for t, a in [("10", "90+"), ("2.5", "10-19"), ("", "0-9")]]
    _, counts = Findable(made).matching({})
    assert [v for v, _ in counts["thickness"]] == ["2.5", "10", ""]
    assert [v for v, _ in counts["age"]] == ["0-9", "10-19", "90+"]


@pytest.fixture
def browser(tmp_path):
    write_series(
        tmp_path, "chest", list(ct(phantom(5), PatientSex="F", PatientAge="045Y", SliceThickness=2.5)), "1.2.1"
    )
    report = instance(np.zeros((2, 2), np.uint16), modality="SR", description="Report <b>")
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(report, keyword)
    write_series(tmp_path, "chest", [report], "1.2.2")
    write_index(tmp_path, "chest")
    return dataset("chest", tmp_path).browse(static="none")


def test_filters_lead_to_series_and_are_checked(browser):
    assert len(browser.series()) == 2
    browser.filters = {"sex": ["F"], "age": ["40-49"], "thickness": ["2.5"], "kernel": []}
    (found,) = browser.series()
    assert (found.modality, found.n) == ("CT", 5)
    assert "1 of 2 series; Sex: F; Age (years): 40-49; Slice thickness (mm): 2.5" in browser.describe()
    for wrong in ({"weight": ["80"]}, {"sex": "F"}):
        with pytest.raises(traitlets.TraitError, match=r"there are modality|give a list"):
            browser.filters = wrong


def test_a_thumbnail_reads_the_middle_image_alone(browser):
    folder = browser.grid._folder
    for path in folder.rglob("*.dcm"):
        if path.stem != browser.grid.row(0).middle:
            path.write_bytes(b"")
    assert browser.grid.thumbnail(0).shape == (85, 96)
    with pytest.raises(BadInput, match="no series 7"):
        browser.grid.thumbnail(7)


def test_what_has_no_viewer_says_so_and_a_report_is_a_page(browser):
    with pytest.raises(NotAVolume, match="holds no images"):
        browser.show(1)
    report = next((browser.grid._folder / "1.2.2").rglob("*.dcm"))
    found = pydicom.dcmread(report)
    found.SOPClassUID, found.ValueType, found.ContinuityOfContent = ComprehensiveSRStorage, "CONTAINER", "SEPARATE"
    found.save_as(report)
    browser.show(1)
    assert browser.describe().endswith("Open: SR Report <b>")
    assert "rr-sr" in browser.children[1].value
    browser.show(0)
    assert len(browser.children) == 2
    assert "Open: CT Phantom: slice 3 of 5" in browser.describe()


def test_a_saved_page_keeps_words_or_a_picture(browser, monkeypatch):
    kept, _ = browser._repr_mimebundle_()
    assert "image/png" not in kept
    assert "<td>SR Report &lt;b&gt;</td>" in kept["text/html"]
    root = browser.grid._folder.parent
    monkeypatch.delenv("READINGROOM_PICTURES", raising=False)
    assert "image/png" in dataset("chest", root).browse()._repr_mimebundle_()[0]
    monkeypatch.setenv("READINGROOM_PICTURES", "none")
    obeying = dataset("chest", root).browse()
    obeying.show(0)
    assert "image/png" not in {*obeying._repr_mimebundle_()[0], *obeying.opened._repr_mimebundle_()[0]}
    with pytest.raises(BadInput, match="static='gif'"):
        dataset("chest", root).browse(static="gif")


def test_without_an_index_there_is_nothing_to_browse_by(tmp_path):
    write_series(tmp_path, "bare", [instance(np.zeros((2, 2), np.uint16))])
    with pytest.raises(NotFound, match=r"no index\.csv"):
        dataset("bare", tmp_path).browse()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40)), max_size=40))
def test_thumbnails_are_kept_by_their_bytes(puts):
    kept = Kept(100)
    for number, size in puts:
        if kept.get(number) is None:
            kept.put(number, np.zeros((size, 1), np.uint8))
        assert sum(p.nbytes for n in range(10) if (p := kept._pictures.get(n)) is not None) == kept._held <= 100
        assert next(reversed(kept._pictures)) == number
