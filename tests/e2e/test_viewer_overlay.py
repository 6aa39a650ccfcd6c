"""Overlays in JupyterLab and Chromium: the colours on the screen equal Python's, to the level."""

import numpy as np
import pytest
from tests.support.dicom_series import ct, phantom, write_series
from tests.support.lab import chromium_page, running_lab
from tests.support.viewer import Viewer, in_kernel, open_notebook

from readingroom.planes import Stored
from readingroom.viewers.overlay import Overlay, blended, labels_at
from readingroom.viewers.render import grey_levels

pytestmark = pytest.mark.browser

WINDOW = (0.0, 2048.0)
ARRAY = phantom(12, rows=96, columns=80)
ORANGE, GREEN = (230, 159, 0), (0, 128, 64)
HIGH = Overlay("high", ARRAY > 100, ORANGE, 0.4)
STRIPES = Overlay("stripes", np.broadcast_to(np.arange(80) % 8 == 0, ARRAY.shape), GREEN, 0.75)


def expected(index, *layers, window=WINDOW):
    grey = grey_levels(Stored(ARRAY[index]), window)
    if not layers:
        return np.repeat(grey[..., None], 3, axis=2)
    return blended(grey, labels_at(layers, index), layers)


def test_masks_lie_on_their_pixels(tmp_path):
    home = tmp_path / "home"
    write_series(home / "data", "chest-ct-demo", list(ct(ARRAY, WindowCenter=WINDOW[0], WindowWidth=WINDOW[1])))
    with running_lab(home, home / "data") as lab, chromium_page() as (page, guard):
        open_notebook(
            page,
            lab,
            "overlay.ipynb",
            "import numpy as np, readingroom\nseries = readingroom.dataset('chest-ct-demo').series()[0]",
            "view = series.view(index=5)\nview",
        )
        view = Viewer(page, len(ARRAY))
        view.root.scroll_into_view_if_needed()
        view.arrive(5)
        overlaid = page.locator(".rr-stage[data-overlaid]")

        # What was fetched before comes again, with its mask.
        in_kernel(page, "mask = series.volume().array > 100; view.overlay(mask, name='high')")
        overlaid.wait_for()
        np.testing.assert_array_equal(view.colours(), expected(5, HIGH))
        view.stage.focus()
        page.keyboard.press("ArrowDown")
        view.arrive(6)
        np.testing.assert_array_equal(view.colours(), expected(6, HIGH))
        # Another window changes the picture below, and not the place of the mask.
        page.keyboard.press("4")
        np.testing.assert_array_equal(view.colours(), expected(6, HIGH, window=(40, 400)))
        page.keyboard.press("1")

        code = "view.overlay(np.broadcast_to(np.arange(80) % 8 == 0, mask.shape), 'stripes', (0, 128, 64), 0.75)"
        in_kernel(page, code)
        view.root.locator(".rr-legend li", has_text="stripes").wait_for()
        page.keyboard.press("ArrowDown")
        view.arrive(7)
        np.testing.assert_array_equal(view.colours(), expected(7, HIGH, STRIPES))
        # Each colour has its name in words.
        assert view.root.get_by_role("list", name="Overlays").get_by_role("listitem").all_inner_texts() == [
            "high",
            "stripes",
        ]
        view.root.screenshot(path=tmp_path / "overlay.png")

        in_kernel(page, "view.clear_overlays()")
        page.locator(".rr-stage:not([data-overlaid])").wait_for()
        np.testing.assert_array_equal(view.colours(), expected(7))
        assert view.root.locator(".rr-legend").is_hidden()
        assert guard.outside == []
