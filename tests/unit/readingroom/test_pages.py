"""Encapsulated PDF, page by page."""

import io

import numpy as np
import pytest
from PIL import Image
from tests.support.dicom_objects import as_file
from tests.support.encapsulated import encapsulated, pdf

from readingroom.errors import BadInput, Damaged
from readingroom.viewers.pages import PagesView


def document(tmp_path, data, name="report.dcm", kind="application/pdf"):
    path = tmp_path / name
    path.write_bytes(as_file(encapsulated(data, kind)))
    return path


def picture(view):
    drawn = view.draw()
    assert drawn.mime == "image/png"
    return np.array(Image.open(io.BytesIO(drawn.data)).convert("RGB"))


def test_each_page_is_drawn(tmp_path):
    path = document(tmp_path, pdf(["red", "lime", "blue"]))
    view = PagesView([path, document(tmp_path, pdf(["white"]), "second.dcm")], "d")
    for number, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        view.page = number
        shown = picture(view)
        assert shown.shape == (1600, 1280, 3)
        assert tuple(shown[800, 640]) == colour
        assert view.draw().words == f"Page {number + 1} of 3 of report.dcm"
    view.file = 1  # it has one page only
    assert view.draw().words == "Page 1 of 1 of second.dcm"


def test_a_page_as_large_as_a_house_is_drawn_no_larger(tmp_path):
    assert picture(PagesView([document(tmp_path, pdf(["red"], (200, 100)))], "d")).shape == (800, 1600, 3)


@pytest.mark.parametrize("data", [b"", b"%PDF-1.4\nnothing", b"\0" * 100])
def test_what_is_no_pdf_is_named(tmp_path, data):
    with pytest.raises((Damaged, BadInput), match=r"report\.dcm of d"):
        PagesView([document(tmp_path, data)], "d")


def test_another_document_says_what_it_is(tmp_path):
    path = document(tmp_path, None, kind="text/XML")
    with pytest.raises(BadInput, match=r"report\.dcm of d encapsulates no PDF but text/XML"):
        PagesView([path], "d")
