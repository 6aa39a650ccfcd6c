"""Overlays in JupyterLab and Chromium: the colours on the screen equal Python's, to the level."""

import numpy as np
import pytest
from tests.support.dicom_series import ct, phantom, write_series
from tests.support.structures import box, structure_set
from tests.support.viewer import Viewer, in_kernel, open_notebook, themes

from readingroom.planes import Stored
from readingroom.viewers.overlay import Overlay, blended, labels_at, outlined
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


def test_masks_lie_on_their_pixels(lab, screen, pictures):
    page, _guard = screen
    write_series(
        lab.data,
        "overlaid",
        list(ct(ARRAY, WindowCenter=WINDOW[0], WindowWidth=WINDOW[1], FrameOfReferenceUID="1.2.3.9")),
    )
    open_notebook(
        page,
        lab,
        "overlay.ipynb",
        "import numpy as np, readingroom\nseries = readingroom.dataset('overlaid').series()[0]",
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
    view.stage.focus()
    page.keyboard.press("o")
    page.locator(".rr-bar button[aria-pressed='true']", has_text="Outline").wait_for()
    grey = grey_levels(Stored(ARRAY[7]), WINDOW)
    np.testing.assert_array_equal(view.colours(), outlined(grey, labels_at((HIGH, STRIPES), 7), (HIGH, STRIPES)))
    page.keyboard.press("o")

    in_kernel(page, "view.clear_overlays()")
    page.locator(".rr-stage:not([data-overlaid])").wait_for()
    np.testing.assert_array_equal(view.colours(), expected(7))
    assert view.root.locator(".rr-legend").is_hidden()
    contours_lie_on_the_pixels(page, view, lab, pictures)


def contours_lie_on_the_pixels(page, view, lab, pictures):
    lung = box(20, 10, 60, 50, 120.0)
    structures = [("lung", (10, 200, 30), [lung]), ("lesion", (240, 60, 200), [box(30, 20, 40, 30, 120.0)])]
    structure_set(structures, "1.2.3.9").save_as(lab.folder / "rt.dcm", enforce_file_format=True)
    in_kernel(page, "view.overlay('rt.dcm')")
    # Its name leads to the slice at z = 100 + 2.5 * 8.
    view.root.get_by_role("list", name="Overlays").get_by_role("button", name="lung").click()
    view.arrive(8)
    drawn = view.root.locator(".rr-contour")
    drawn.first.wait_for(state="attached")
    assert drawn.first.get_attribute("points") == "10,20 50,20 50,60 10,60"
    assert drawn.first.evaluate("line => getComputedStyle(line).stroke") == "rgb(10, 200, 30)"
    # On the screen its corners are the corners of those pixels.
    seen = drawn.first.evaluate(
        "line => { const m = line.getScreenCTM(); return [...line.points].map(p => p.matrixTransform(m))"
        ".map(p => [p.x, p.y]); }"
    )
    np.testing.assert_allclose(seen, [view.at(r, c) for r, c in [(20, 10), (20, 50), (60, 50), (60, 10)]], atol=0.01)
    in_kernel(page, "view.overlay(view.mask('lung'), 'filled', (240, 228, 66), 0.3)")
    view.root.locator(".rr-legend li", has_text="filled").wait_for()
    overlaid = Overlay("", np.zeros((1, 96, 80), bool), (240, 228, 66), 0.3)
    overlaid.mask[0, 20:60, 10:50] = True
    page.wait_for_function(
        "([canvas, r]) => canvas.getContext('2d').getImageData(15, 25, 1, 1).data[2] !== r",
        arg=[view.canvas.element_handle(), int(grey_levels(Stored(ARRAY[8]), WINDOW)[25, 15])],
    )
    grey = grey_levels(Stored(ARRAY[8]), WINDOW)
    labels = labels_at([overlaid], 0)
    np.testing.assert_array_equal(view.colours(), blended(grey, labels, [overlaid]))
    themes(page, view.root, pictures, "overlay")
    view.stage.focus()
    page.keyboard.press("Home")
    view.arrive(0)
    assert drawn.count() == 0
