"""Layers that come with pictures or lie in the patient, in one JupyterLab and Chromium: exact colours on the screen."""

import numpy as np
import pytest
from tests.support.dicom_series import ct, phantom, write_series
from tests.support.lab import chromium_page, running_lab
from tests.support.overlay_planes import with_overlay
from tests.support.viewer import Viewer, in_kernel, open_notebook

from readingroom.planes import Stored
from readingroom.viewers.overlay import COLOURS, coloured
from readingroom.viewers.render import grey_levels

pytestmark = pytest.mark.browser

ARRAY = phantom(6, rows=96, columns=80)
PANEL = ".jp-NotebookPanel:not(.lm-mod-hidden)"
WINDOW = {"WindowCenter": 0, "WindowWidth": 2048, "FrameOfReferenceUID": "1.2.3.9"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with running_lab(home, home / "data") as lab, chromium_page() as (page, guard):
        yield home, lab, page
        assert guard.outside == []


def opened(world, name, index, *cells):
    """A notebook with the view of the dataset `name`, at one of its slices, and more cells."""
    _home, lab, page = world
    load = f"import readingroom\nseries = readingroom.dataset('{name}').series()[0]\nview = series.view(index={index})"
    open_notebook(page, lab, f"{name}.ipynb", "\n".join([load, *cells, "view"]))
    view = Viewer(page, len(ARRAY), page.locator(f"{PANEL} .rr-view").first)
    view.root.scroll_into_view_if_needed()
    view.arrive(index)
    return page, view


def greys(index):
    return coloured(grey_levels(Stored(ARRAY[index]), (0.0, 2048.0)))


def test_overlay_planes_lie_on_their_pixels(world):
    made = list(ct(ARRAY, **WINDOW))
    bits = np.random.default_rng(1).random((30, 40)) > 0.5
    with_overlay(made[2], bits, origin=(21, 11))
    write_series(world[0] / "data", "planes", made)
    page, view = opened(world, "planes", 2)
    expected = greys(2)
    expected[20:50, 10:50][bits] = COLOURS[0]
    np.testing.assert_array_equal(view.colours(), expected)
    view.stage.focus()
    page.keyboard.press("ArrowDown")
    view.arrive(3)
    np.testing.assert_array_equal(view.colours(), greys(3))
    view.root.get_by_role("list", name="Overlays").get_by_role("button", name="overlay plane 1").click()
    view.arrive(2)
    in_kernel(page, "view.clear_overlays()")
    page.locator(f"{PANEL} .rr-stage:not([data-overlaid])").wait_for()
    np.testing.assert_array_equal(view.colours(), greys(2))
