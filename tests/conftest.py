"""What the command line adds to the tests."""

from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption("--pictures", action="store_true", help="write the viewer's pictures into docs/pictures")


@pytest.fixture
def pictures(request, tmp_path):
    """The folder that pictures for the documentation go to: docs/pictures with --pictures, else one to be forgotten."""
    folder = Path(__file__).parents[1] / "docs" / "pictures" if request.config.getoption("--pictures") else tmp_path
    folder.mkdir(exist_ok=True)
    return folder
