"""Grey values in Chromium: sigmoid and VOI LUT on the screen equal Python's, to the level."""

import numpy as np
import pydicom
import pytest
from tests.support.dicom_series import ct, phantom, write_series
from tests.support.lab import chromium_page, running_lab
from tests.support.viewer import Viewer, in_kernel, open_notebook

from readingroom.viewers import SeriesView
from readingroom.volume import Frames

pytestmark = pytest.mark.browser

ARRAY = phantom(4, rows=96, columns=80)


def test_sigmoid_and_lut_equal_pythons(tmp_path):
    home = tmp_path / "home"
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "SS", [3000, -1024, 12])
    item.add_new("LUTData", "OW", (np.linspace(0, 1, 3000) ** 2 * 4095).astype("<u2").tobytes())
    item.LUTExplanation = "CURVE"
    more = {"VOILUTFunction": "SIGMOID", "WindowCenter": 100, "WindowWidth": 700, "VOILUTSequence": [item]}
    folder = write_series(home / "data", "d", list(ct(ARRAY, **more)))
    here = SeriesView(Frames.of_files(sorted(folder.iterdir()), "d"), index=1)
    with running_lab(home, home / "data") as lab, chromium_page() as (page, _guard):
        load = "import readingroom\nview = readingroom.dataset('d').series()[0].view(index=1)\nview"
        open_notebook(page, lab, "grey.ipynb", load)
        view = Viewer(page, len(ARRAY))
        view.root.scroll_into_view_if_needed()
        np.testing.assert_array_equal(view.wait(1), here.grey())
        assert view.status() == "slice 2 of 4, W 700 L 100"

        # The LUT is the last preset: 7 follow the window as stored.
        view.stage.focus()
        page.keyboard.press("8")
        view.says("slice 2 of 4, CURVE")
        here.lut = 0
        np.testing.assert_array_equal(view.pixels(), here.grey())
        in_kernel(page, "assert view.lut == 0; view.invert = True")
        view.says("inverted")
        here.invert = True
        np.testing.assert_array_equal(view.pixels(), here.grey())
        view.root.screenshot(path=tmp_path / "grey.png")

        # A window of one's own leaves it.
        page.keyboard.press("Shift+ArrowUp")
        view.says("W 700 L 135")
        here.window = (135, 700)
        np.testing.assert_array_equal(view.pixels(), here.grey())
        in_kernel(page, "assert view.lut is None and view.window == (135, 700)")
