"""One JupyterLab for all tests that look at widgets: each brings datasets and notebooks with names of its own."""

import pytest
from tests.support.lab import chromium_page, running_lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    home = tmp_path_factory.mktemp("lab")
    with running_lab(home, home / "data") as running:
        yield running


@pytest.fixture(scope="module")
def screen(lab):
    """A page in a fresh Chromium, and its guard. The kernels of its notebooks end with it."""
    with chromium_page() as (page, guard):
        yield page, guard
        assert guard.outside == []
    lab.end_kernels()
