"""The documentation names every setting and command, and every file that it links to is there."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import typer.main

from readingroom_hub.cli.main import app
from readingroom_hub.config import Settings

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "SECURITY.md"]
PAGES += sorted((REPOSITORY / "docs").rglob("*.md"))


def test_every_setting_is_in_the_operators_manual():
    text = (REPOSITORY / "docs" / "operator.md").read_text()
    names = {f"READINGROOM_{f.name.upper()}" for f in fields(Settings) if f.name != "paths"}
    assert {n for n in names if f"`{n}`" not in text} == set()
    assert {n for n in re.findall(r"READINGROOM_[A-Z0-9_]+", text) if n not in names} == set()


def test_every_command_is_in_the_operators_manual():
    text = (REPOSITORY / "docs" / "operator.md").read_text()
    assert {c for c in typer.main.get_command(app).commands if f"`{c}`" not in text} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", sorted((REPOSITORY / "docs" / "adr").glob("*.md")), ids=lambda p: p.name)
def test_a_decision_says_what_it_costs(page):
    text = page.read_text()
    assert "## Context" in text
    _, found, costs = text.partition("onsequences\n")
    assert found
    assert re.search(r"^- |^Bad", costs, re.MULTILINE)
