"""Measuring in JupyterLab and Chromium, by mouse and by keyboard alone: sizes and values are known by construction."""

import numpy as np
import pytest
from tests.support.dicom_series import ct, write_series
from tests.support.lab import chromium_page, running_lab
from tests.support.viewer import Viewer, in_kernel, open_notebook, themes

pytestmark = pytest.mark.browser

# Rows 0.5 mm, columns 0.75 mm apart.
ARRAY = np.full((4, 96, 80), -1000, np.int16)
ARRAY[:, 20:40, 20:60] = 40
ARRAY[2, 20:40, 20:40] = 60


def test_measuring_by_mouse_and_by_keys(tmp_path):
    home = tmp_path / "home"
    write_series(home / "data", "d", list(ct(ARRAY, FrameOfReferenceUID="1.2.3.9")))
    with running_lab(home, home / "data") as lab, chromium_page() as (page, guard):
        load = "import readingroom\nview = readingroom.dataset('d').series()[0].view(index=2)\nview"
        open_notebook(page, lab, "measure.ipynb", load)
        view = Viewer(page, len(ARRAY))
        view.root.scroll_into_view_if_needed()
        view.wait(2)
        said, listed = view.root.locator(".rr-said"), view.root.get_by_role("list", name="Measurements")

        def lists(*texts):
            page.wait_for_function(
                "([root, texts]) => JSON.stringify([...root.querySelectorAll('.rr-measured .rr-plain')]"
                ".map(b => b.textContent)) === JSON.stringify(texts)",
                arg=[view.root.element_handle(), list(texts)],
            )

        # By keyboard alone: the cross begins in the middle, row 48 and column 40.
        view.stage.focus()
        page.keyboard.press("l")
        assert "Length: draw" in said.inner_text()
        page.keyboard.press("Enter")
        assert said.inner_text() == "Length: point 1 at row 49 column 41"
        for key in ["Shift+ArrowUp", "ArrowUp", "ArrowUp", *["ArrowRight"] * 6, "ArrowLeft", *["ArrowRight"] * 3]:
            page.keyboard.press(key)
        assert said.inner_text() == "row 37 column 49"
        page.keyboard.press("Enter")
        # 12 rows are 6 mm, 8 columns are 6 mm.
        lists("Length 8.5 mm (slice 3)")
        page.wait_for_function("() => document.querySelector('.rr-said').textContent === 'Length 8.5 mm'")

        # By mouse: the corners of a rectangle, at the pixels' own edges.
        page.keyboard.press("Escape")
        assert view.stage.evaluate("stage => stage === document.activeElement")
        view.root.get_by_role("button", name="Rectangle").click()
        view.drag((20.1, 20.1), (39.9, 59.9))
        rectangle = "Rectangle 295.5 mm², mean 50 HU, SD 10, 800 pixels (slice 3)"
        lists("Length 8.5 mm (slice 3)", rectangle)
        in_kernel(page, "row = view.measurements().iloc[1]; assert (row.n, row['mean'], row.sd) == (800, 50, 10), row")

        # An angle: a drag makes two points, a click the third. The window stays as it was.
        before = view.window()
        page.keyboard.press("a")
        view.drag((60, 10), (60, 30))
        view.drag((75, 30))
        lists("Length 8.5 mm (slice 3)", rectangle, "Angle 90.0° (slice 3)")
        page.keyboard.press("c")
        for corner in [(80, 5), (80, 25), (90, 5), (84, 20)]:
            view.drag(corner)
        page.wait_for_function("() => document.querySelectorAll('.rr-measured li').length === 4")
        page.keyboard.press("e")
        view.drag((25, 25), (35, 35))
        page.keyboard.press("f")
        view.drag((70, 50), (70, 75), (90, 75), (90, 50))
        page.wait_for_function("() => document.querySelectorAll('.rr-measured li').length === 6")
        assert view.window() == before
        page.keyboard.press("Escape")
        view.marks(6)
        themes(page, view.root, tmp_path, "measure")

        # On another slice nothing of it is drawn; its name in the list leads back.
        view.stage.focus()
        page.keyboard.press("ArrowDown")
        view.wait(3)
        view.marks(0)
        listed.get_by_role("button", name="Rectangle 295.5", exact=False).first.click()
        view.wait(2)
        view.marks(6)

        # Python sets and takes away; Delete takes the slice's last one.
        in_kernel(page, "view.annotations = [{**one, 'label': 'A<b>1'} for one in view.annotations[:2]]")
        lists("A<b>1: Length 8.5 mm (slice 3)", f"A<b>1: {rectangle}")
        view.stage.focus()
        page.keyboard.press("Delete")
        lists("A<b>1: Length 8.5 mm (slice 3)")
        in_kernel(page, "assert [one['kind'] for one in view.annotations] == ['length']")

        # What is refused is said.
        page.keyboard.press("r")
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelector('.rr-said').textContent.includes('has no width')")
        assert guard.outside == []
