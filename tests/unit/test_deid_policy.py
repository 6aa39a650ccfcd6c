"""Policies as files, the standard's table, reasons and reports."""

import json

import pytest

from readingroom_hub.deid.actions import Action, action, vr_of
from readingroom_hub.deid.policy_file import SHIPPED, content, load, parse
from readingroom_hub.deid.reasons import reason
from readingroom_hub.deid.table import Option, Table, table
from readingroom_hub.errors import BadInput

HEAD = 'format = "readingroom-policy/1"\nprofile = "Basic Application Confidentiality Profile"\n'


def test_every_option_is_known_by_the_standards_name():
    titles = [o.standard_name for o in Option if o is not Option.FULL_DATES]
    policy = parse(f"{HEAD}options = {json.dumps(titles)}", "p")
    assert policy.options == frozenset(Option) - {Option.FULL_DATES}
    assert parse(HEAD + 'options = ["retain uids option"]', "p").options == {Option.RETAIN_UIDS}
    assert min(policy.codes)[0] == "113100"
    assert len({o.code[0] for o in Option}) == len(Option) == 12


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_policies_are_valid(name):
    assert load(name).profile.startswith("PS3.15 2026d: Basic")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("format = ", "p: no TOML"),
        ("", "p: format: write"),
        ('format = "readingroom-policy/1"', "p: profile: write"),
        (HEAD + 'options = ["Clean Everything"]', "p: options: 'Clean Everything' is no option"),
        (HEAD + 'options = "x"', "p: options: write a list"),
        (HEAD + 'colour = "x"', "p: colour: no such key"),
        (HEAD + "[images]\ncolour = 1", "p: images.colour: no such key"),
        (HEAD + "[images]\ntext_free = [1]", "p: images.text_free: write a list"),
        (HEAD + '[images]\nunsure_text = "x"', "p: images.unsure_text: write one of mask, quarantine, keep"),
        (HEAD + "[images]\ncut_short = 1", "p: images.cut_short: write one of leave-out, pad"),
        (HEAD + '[images]\nsecond_reader = "x"', "p: images.second_reader: write one of none, tesseract"),
        (HEAD + "[images]\nregions = 1", r"p: images.regions: write tables \[\[images.regions"),
        (
            HEAD + "[[images.regions]]\nboxes = [[0, 0, 9, 9]]",
            r"p: images.regions\[0\]: say of which images, by one of",
        ),
        (HEAD + '[[images.regions]]\nModality = "US"', r"p: images.regions\[0\].boxes: write a list of"),
        (HEAD + '[[images.regions]]\nModality = "US"\nboxes = [[9, 0, 9, 9]]', "boxes: write a list of"),
        (HEAD + '[[images.regions]]\nModality = "US"\nPatientID = "1"', r"regions\[0\].PatientID: no such key"),
        (HEAD + '[[images.regions]]\nModality = "US"\nboxes = [[0, 0, 9, 9]]', "are for the option Clean Pixel Data"),
        (
            HEAD + f'options = ["{Option.FULL_DATES.standard_name}", "{Option.MODIFIED_DATES.standard_name}"]',
            "exclude each other",
        ),
    ],
)
def test_an_error_names_file_and_key(text, message):
    with pytest.raises(BadInput, match=message):
        parse(text, "p")


def test_regions_and_readers_come_back_as_they_were_written():
    images = {
        "second_reader": "tesseract",
        "regions": [{"Modality": "US", "ManufacturerModelName": "LOGIQ*", "Rows": 600, "boxes": [[0, 0, 800, 60]]}],
    }
    region = 'Modality = "US"\nManufacturerModelName = "LOGIQ*"\nRows = 600\nboxes = [[0, 0, 800, 60]]'
    options = 'options = ["Clean Pixel Data"]\n[images]\nsecond_reader = "tesseract"\n'
    made = content(parse(f"{HEAD}{options}[[images.regions]]\n{region}", "p"))["images"]
    assert made["second_reader"] == images["second_reader"]
    assert [{k: str(v) for k, v in r.items()} for r in made["regions"]] == [
        {k: str(v) for k, v in r.items()} for r in images["regions"]
    ]


def test_a_policy_file_that_is_not_there(tmp_path):
    with pytest.raises(BadInput, match="give a TOML file"):
        load(str(tmp_path / "none.toml"))


def test_another_edition_is_compared_row_by_row(tmp_path):
    from importlib.resources import files

    content = json.loads((files("readingroom_hub.deid") / "data" / "ps315_2026d.json").read_bytes())
    assert table().changes(Table(content)) == []
    content["rules"][0]["basic"] = "X"
    gone = content["rules"].pop(1)
    rows = table().changes(Table(content))
    assert [(r["here"], r["there"]) for r in rows if gone["name"] not in r["what"]] == [("Z", "X")]
    assert [r["there"] for r in rows if gone["name"] in r["what"]] == ["(not listed)"]


@pytest.mark.parametrize(
    ("keyword", "action", "why"),
    [
        ("StudyDescription", Action.CLEAN, "Clean Descriptors: C"),
        ("StudyDate", Action.SHIFT, "Modified Dates: C"),
        ("PatientName", Action.PSEUDONYM, "keyed pseudonym"),
        ("PatientAge", Action.CAP, "164.514"),
        ("Manufacturer", Action.CLEAN, "not in Table"),
        ("(0009,1001)", Action.REMOVE, "E.3.10"),
        ("AccessionNumber", Action.EMPTY, "basic profile: Z"),
    ],
)
def test_each_change_has_its_reason(keyword, action, why):
    assert why in reason(load("research"), keyword, action)


@pytest.mark.parametrize("option", list(Option))
def test_every_cell_of_an_options_column_is_obeyed(option):
    """K keeps; C keeps a sequence for its items' sake, moves a date, cleans a text; empty cells change nothing."""
    cleaned = {Action.KEEP, Action.SHIFT, Action.CLEAN}
    for rule in table().rules:
        if not rule.tag.isalnum() or "x" in rule.tag or rule.tag[:4] in {"PRIV", "0000", "0002"}:
            continue
        tag, sop_class = int(rule.tag, 16), "1.2.840.10008.5.1.4.1.1.2"
        with_it, without = (action(frozenset(o), sop_class, 0, tag) for o in ((option,), ()))
        cell, vr = rule.options.get(option), vr_of(tag)
        if cell == "K" and vr is not None:
            assert with_it is Action.KEEP, rule
        elif cell == "C" and vr in {"DA", "DT", "TM"}:
            assert with_it is Action.SHIFT, rule
        elif cell == "C" and vr in {"SQ", "CS", "LO", "SH", "LT", "ST", "UT"} and option is not Option.MODIFIED_DATES:
            assert with_it in cleaned - {Action.SHIFT}, rule
        else:
            assert with_it is without, rule


def test_a_date_that_one_option_retains_is_moved_where_dates_are_moved():
    calibration = 0x00181200  # DateOfLastCalibration
    both = frozenset({Option.DEVICE_IDENTITY, Option.MODIFIED_DATES})
    assert action(both, "", 0, calibration) is Action.SHIFT


@pytest.mark.parametrize("name", ["basic", "research"])
def test_a_policy_in_a_card_is_the_policy_again(name):
    written = content(load(name))
    lines = [f"{key} = {json.dumps(written[key])}" for key in ("format", "profile", "options")]
    lines.append("[images]")
    lines += [f"{key} = {json.dumps(value)}" for key, value in written["images"].items()]
    assert parse("\n".join(lines), "card") == load(name)
