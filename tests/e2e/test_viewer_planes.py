"""Three planes through one series in JupyterLab and Chromium: each pixel is the voxel that it is said to be."""

import numpy as np
import pytest
from tests.support.dicom_series import ct, phantom, write_series
from tests.support.viewer import Viewer, open_notebook

from readingroom.planes import Stored
from readingroom.viewers.render import grey_levels

pytestmark = pytest.mark.browser

SLICES = 40
WINDOW = (0.0, 2048.0)
ARRAY = phantom(SLICES, rows=96, columns=80)


def test_three_planes_are_linked_by_a_crosshair(lab, screen, tmp_path):
    page, _guard = screen
    write_series(lab.data, "planes", list(ct(ARRAY, WindowCenter=WINDOW[0], WindowWidth=WINDOW[1])))
    opened = "import readingroom\nseries = readingroom.dataset('planes').series()[0]"
    open_notebook(page, lab, "mpr.ipynb", opened, "series.mpr()", "series.render()")
    views = [Viewer(page, count, page.locator(".rr-view").nth(i)) for i, count in enumerate((SLICES, 96, 80))]
    row, column, index = 48, 40, SLICES // 2
    axial, coronal, sagittal = views

    def shown():
        """Each plane's pixels are the volume's, with the head at the top."""
        for view, number, values in [
            (axial, index, ARRAY[index]),
            (coronal, row, ARRAY[::-1, row, :]),
            (sagittal, column, ARRAY[::-1, :, column]),
        ]:
            grey = grey_levels(Stored(values), WINDOW)
            np.testing.assert_array_equal(view.wait(number), grey)

    axial.root.scroll_into_view_if_needed()
    shown()
    assert axial.status().endswith("crosshair at row 49 column 41")

    # A click in the axial plane moves the two others to that voxel.
    box = axial.canvas.bounding_box()
    page.mouse.click(box["x"] + (10 + 0.5) / 80 * box["width"], box["y"] + (70 + 0.5) / 96 * box["height"])
    row, column = 70, 10
    shown()
    # Keys do the same: one row down in the coronal plane is one slice towards the feet.
    coronal.stage.focus()
    page.keyboard.press("Alt+ArrowDown")
    index -= 1
    shown()
    # Scrolling the sagittal plane moves the line in the axial one, and the lines are where they are said to be.
    sagittal.stage.focus()
    page.keyboard.press("ArrowDown")
    column += 1
    shown()
    axial.says(f"crosshair at row {row + 1} column {column + 1}")
    line = axial.root.locator(".rr-cross").nth(1).bounding_box()
    box = axial.canvas.bounding_box()
    assert abs(line["x"] + line["width"] / 2 - box["x"] - (column + 0.5) / 80 * box["width"]) <= 1
    page.screenshot(path=tmp_path / "mpr.png")

    # Drawn whole it is only where the browser has WebGL; this one has none, and says what to do.
    whole = page.locator(".rr-volume")
    whole.locator(".rr-error", has_text="switch on hardware acceleration").wait_for(state="attached")
    assert whole.locator("canvas").count() == 0
