"""Structured reports as trees: everything is there, nothing of it is markup, and no nesting is too deep."""

import re
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from tests.support.dicom_objects import as_file

from readingroom.errors import Damaged
from readingroom.viewers.structured import Item, StructuredReport, _indented, _tree

SAMPLE = Path(get_testdata_file("test-SR.dcm", download=False))


def item(kind, name, *children, **values):
    found = pydicom.Dataset()
    found.ValueType = kind
    concept = pydicom.Dataset()
    concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = "1", "99T", name
    found.ConceptNameCodeSequence = [concept]
    found.RelationshipType = "CONTAINS"
    for keyword, value in values.items():
        setattr(found, keyword, value)
    found.ContentSequence = list(children)
    return found


def report(tmp_path, root):
    root.SOPClassUID, root.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.3"
    path = tmp_path / "sr.dcm"
    path.write_bytes(as_file(root))
    return StructuredReport([path], "d")


def test_a_real_report_is_shown_item_by_item():
    shown = StructuredReport([SAMPLE], "d")
    table = shown.to_frame()
    assert (len(table), table.level.max()) == (29, 4)
    diameter = table[table.concept == "Diameter"].iloc[0]
    assert (diameter.kind, diameter.value, diameter.unit) == ("NUM", "3", "cm")
    text = repr(shown)
    for said in ("Diagnosis", "  Some UID: 1.2.3.4.5", "Diameter: 3 cm", "circle of 2 points", "see item 1.2.2.1"):
        assert said in text
    assert "Key Image</b>: <span>MR Image ...1.2.3.4.0.1</span>" in shown._repr_html_()


def test_a_number_that_was_not_measured_says_why(tmp_path):
    qualifier = pydicom.Dataset()
    qualifier.CodeMeaning = "Not a number"
    missing = item("NUM", "Length", MeasuredValueSequence=[], NumericValueQualifierCodeSequence=[qualifier])
    assert "Length: no value: Not a number" in repr(report(tmp_path, item("CONTAINER", "R", missing)))


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_no_text_is_markup(value):
    html = _tree([Item(0, "", "TEXT", value, value + "<script>", value, value)])
    assert set(re.findall(r"<(\w+)", html)) <= {"ul", "li", "b", "span", "i"}


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_no_text_moves_the_cursor_or_passes_for_another_item(value):
    first, *more = _indented(Item(1, "", "TEXT", "Finding", value + "\n" + value)).split("\n")
    assert all(line.isprintable() for line in (first, *more))
    assert first.startswith("  Finding")
    assert all(line.startswith(" " * 6) for line in more)
    html = _tree([Item(0, "", "TEXT", value, value + "\x1b[2J\u202e", value, value)])
    assert all(line.isprintable() for line in html.split("\n"))


@given(st.lists(st.integers(0, 6), max_size=30))
def test_every_list_is_closed(levels):
    depth, items = 0, [Item(0, "", "CONTAINER", "R", "")]
    for level in levels:  # depth first: a level is at most one below the one before
        depth = min(level, depth) + 1
        items.append(Item(depth, "", "TEXT", "c", "v"))
    html = _tree(items)
    for tag in ("ul", "li", "details", "summary"):
        assert len(re.findall(f"<{tag}[ >]", html)) == html.count(f"</{tag}>")
    assert html.count("<li>") == len(items)


def test_deep_and_endless_reports_are_cut_and_say_so(tmp_path):
    deep = item("TEXT", "leaf", TextValue="the end")
    for n in range(80):
        deep = item("CONTAINER", f"level {n}", deep)
    assert "1 items below are nested too deep to be shown" in repr(report(tmp_path, deep))
    long = item("CONTAINER", "R", *[item("TEXT", "t", TextValue=str(n)) for n in range(5100)])
    assert "the first 5,000 items are shown" in repr(report(tmp_path, long))


def test_what_is_no_dicom_is_named(tmp_path):
    (tmp_path / "x.dcm").write_bytes(b"nothing")
    with pytest.raises(Damaged, match=r"x\.dcm of d could not be decoded"):
        StructuredReport([tmp_path / "x.dcm"], "d")
