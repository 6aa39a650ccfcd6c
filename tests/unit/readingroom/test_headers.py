import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.dicom_series import instance, write_series

from readingroom.data import dataset
from readingroom.errors import BadInput, Damaged
from readingroom.headers import printable, rows_of

PIXELS = np.zeros((4, 4), np.uint16)


def nested(name="<img src=x onerror=alert(1)>"):
    inner, outer = pydicom.Dataset(), pydicom.Dataset()
    inner.CodeMeaning = "deep"
    outer.CodeMeaning, outer.AnatomicRegionModifierSequence = name, [inner]
    return {"AnatomicRegionSequence": [outer], "ImageComments": "x" * 300 + "END"}


@pytest.fixture
def pair(tmp_path):
    write_series(tmp_path, "one", [instance(PIXELS, **nested())])
    write_series(tmp_path, "two", [instance(PIXELS, slope=2, **nested("Chest"), BodyPartExamined="CHEST")])
    return [dataset(name, tmp_path).series()[0] for name in ("one", "two")]


def test_every_element_is_a_row_below_its_sequence(pair):
    table = pair[0].header().frame()
    said = table.set_index("path")
    assert said.loc["(0008,2218)", "value"] == "1 item"
    assert said.loc["(0008,2218)[1](0008,2220)[1](0008,0104)", "value"] == "deep"
    assert said.loc["(0028,0030)", "value"] == "0.5\\0.75"
    # Whole in the table, cut on the screen.
    assert said.loc["(0020,4000)", "value"].endswith("END")
    assert "(7FE0,0010)" not in said.index
    assert said.loc["(0002,0010)", "name"] == "Transfer Syntax UID"
    # pydicom's own walk through all levels is the reference for how many there are.
    file = pydicom.dcmread(pair[0].files[0], stop_before_pixels=True)
    assert (table.vr != "").sum() == len(list(file.iterall())) + len(file.file_meta)


def test_the_difference_of_two(pair):
    table = pair[0].header(pair[1])
    rows = {row.path: row for row in table.shown}
    assert [e and e.text for e in rows["(0028,1053)"].elements] == ["1.0", "2.0"]
    assert [e and e.text for e in rows["(0018,0015)"].elements] == [None, "CHEST"]
    assert "(0028,0010)" not in rows
    table.differences = False
    assert "(0028,0010)" in {row.path for row in table.shown}
    table.search = "chest"
    assert {row.path for row in table.shown} == {"(0018,0015)", "(0008,2218)[1](0008,0104)"}
    assert not pair[0].header(pair[0]).shown


def test_values_are_text_wherever_they_are_shown(pair):
    data, _ = pair[0].header()._repr_mimebundle_()
    assert "&lt;img src=x" in data["text/html"]
    assert "<img" not in data["text/html"]
    assert "x" * 120 + "…" in data["text/html"]
    assert "x" * 121 not in data["text/html"]
    assert "Item" in data["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in data


def test_the_whole_of_a_value_is_sent_when_asked_for(pair, monkeypatch):
    table = pair[0].header()
    sent = []
    monkeypatch.setattr(table, "send", sent.append)
    row = next(i for i, row in enumerate(table.shown) if row.tag == "(0020,4000)")
    assert len(table.table["rows"][row][4]) == 121
    for message in ({"k": "whole", "row": row, "side": 0}, {"k": "whole", "row": 10**6, "side": 0}, {"k": "whole"}, 5):
        table._answer(table, message, [])
    assert sent == [{"k": "whole", "row": row, "side": 0, "text": "x" * 300 + "END"}]


def test_values_that_their_type_does_not_allow_do_not_hide_the_others():
    file = pydicom.Dataset()
    file[0x00280010] = pydicom.dataelem.RawDataElement(pydicom.tag.Tag(0x00280010), "US", 3, b"abc", 0, False, True)
    file[0x00280034] = pydicom.dataelem.RawDataElement(pydicom.tag.Tag(0x00280034), "IS", 4, b"a\x1b[m", 0, False, True)
    file[0x00091001] = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag(0x00091001), "OB", 2, b"\x00\xff", 0, False, True
    )
    rows = rows_of(file)
    assert [row.tag for row in rows] == ["(0009,1001)", "(0028,0010)", "(0028,0034)"]
    assert rows[0].element.text == "2 bytes: 00 ff"
    assert "61 62 63" in rows[1].element.text
    assert "\x1b" not in rows[2].element.text


def test_what_is_no_header_is_named(pair):
    with pytest.raises(BadInput, match=r"no file 1: series .* has 1"):
        pair[0].header(file=1)
    pair[0].files[0].write_bytes(b"no DICOM")
    with pytest.raises(Damaged, match=r"\.dcm of one could not be decoded"):
        pair[0].header()


@given(st.text())
def test_no_code_for_a_terminal_is_left(text):
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)
