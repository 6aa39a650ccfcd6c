"""Whole sessions with a view in JupyterLab and Chromium: by keyboard alone, saved and opened again, in two browsers."""

import numpy as np
import pytest
from tests.support.dicom_series import ct, phantom, write_series
from tests.support.lab import fresh_page
from tests.support.viewer import (
    Viewer,
    in_kernel,
    open_notebook,
    run_all,
    show_notebook,
    until_in_kernel,
    wait_for_kernel,
    write_notebook,
)

from readingroom.planes import Stored
from readingroom.viewers.overlay import Overlay, blended, labels_at
from readingroom.viewers.render import grey_levels

pytestmark = pytest.mark.browser

SLICES = 12
ARRAY = phantom(SLICES, rows=96, columns=80)
WINDOW = (0.0, 2048.0)
MASK = np.zeros(ARRAY.shape, bool)
MASK[9, 30:50, 20:40] = True
LESION = Overlay("lesion", MASK, (230, 159, 0), 0.4)
LOAD = """import numpy as np, readingroom
series = readingroom.dataset('session').series()[0]
mask = np.zeros((12, 96, 80), bool)
mask[9, 30:50, 20:40] = True"""
LISTEN = """import time
view, asked, moved = series.view(index=5), [], 0.0
def follow(change):
    global moved
    asked.append(change.new)
    moved = time.monotonic()
view.observe(follow, 'index')
view"""
COUNT_POINTERS = """window.pointed = [];
for (const kind of ["pointerdown", "pointermove", "mousedown", "mousemove", "wheel", "touchstart"]) {
  addEventListener(kind, (event) => window.pointed.push(event.type), true);
}"""
FOCUSED = """() => {
  const one = document.activeElement, box = one.getBoundingClientRect(), style = getComputedStyle(one);
  return { where: one.closest(".rr-view") ? "view" : "page", name: one.getAttribute("aria-label") ?? one.textContent,
           marked: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1,
           seen: box.bottom > 0 && box.top < innerHeight && box.height > 0 };
}"""


@pytest.fixture(scope="module", autouse=True)
def series(lab):
    more = {"WindowCenter": WINDOW[0], "WindowWidth": WINDOW[1], "FrameOfReferenceUID": "1.2.3.9"}
    return write_series(lab.data, "session", list(ct(ARRAY, **more)))


def grey(index, window=WINDOW):
    return grey_levels(Stored(ARRAY[index]), window)


def tab_to(page, found, most=60):
    """Press Tab until `found(the focused element)`; each one on the way is seen and marked."""
    for _ in range(most):
        page.keyboard.press("Tab")
        one = page.evaluate(FOCUSED)
        if one["where"] == "view":
            assert one["marked"], one
            assert one["seen"], one
        if found(one):
            return one
    raise AssertionError(f"{most} times Tab did not lead there; it is at {one}")


def test_a_whole_session_by_keyboard_alone(lab, screen):
    page, _guard = screen
    write_notebook(lab, "keys.ipynb", LOAD, "", "")
    page.add_init_script(COUNT_POINTERS)
    page.goto(lab.url("").replace("/tree/", ""))
    page.locator(".jp-Launcher").wait_for()

    # Open the notebook by its name, and run what was written.
    page.keyboard.press("Control+Shift+C")
    page.locator(".lm-CommandPalette-input").wait_for()
    page.keyboard.type("Open from Path")
    page.locator(".lm-CommandPalette-item", has_text="Open from Path").wait_for()
    page.keyboard.press("Enter")
    page.locator(".jp-Dialog input").wait_for()
    page.keyboard.type("keys.ipynb")
    page.keyboard.press("Enter")
    idle = "() => window.jupyterapp.shell.currentWidget?.context?.sessionContext?.session?.kernel?.status === 'idle'"
    page.wait_for_function(idle)
    page.wait_for_function("() => document.activeElement.closest('.jp-Notebook')")
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Enter")
    page.keyboard.type("view = series.view(index=5).overlay(mask, 'lesion')\nview")
    page.keyboard.press("Shift+Enter")
    view = Viewer(page, SLICES)
    view.root.wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowUp")
    tab_to(page, lambda one: one["where"] == "view", most=3)
    assert view.stage.evaluate("stage => stage === document.activeElement")

    # Scroll; a preset of the window; back.
    for key, index in [("ArrowDown", 6), ("PageDown", 11), ("Home", 0), ("ArrowRight", 1)]:
        page.keyboard.press(key)
        np.testing.assert_array_equal(view.wait(index), grey(index))
    page.keyboard.press("4")
    np.testing.assert_array_equal(view.wait(1), grey(1, (40, 400)))
    until_in_kernel(page, "(view.index, view.window) == (1, (40, 400))")
    page.keyboard.press("0")
    np.testing.assert_array_equal(view.wait(1), grey(1))

    # A length from row 49, column 41: a point taken back, another one set, and the length deleted and drawn again.
    def length(*, again=False):
        for key in ["l", "Enter", *(["Backspace", "ArrowUp", "Enter"] if again else []), *["Shift+ArrowRight"] * 2]:
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        # 20 columns are 15 mm.
        view.announces("Length 15.0 mm")
        page.keyboard.press("Escape")

    length(again=True)
    view.marks(1)
    until_in_kernel(page, "[one['kind'] for one in view.annotations] == ['length']")
    page.keyboard.press("Delete")
    view.marks(0)
    until_in_kernel(page, "view.annotations == []")
    length()

    # Every control of the view is reached, and Tab leads on into the page: no trap. Its list leads to a segment.
    names = []
    tab_to(page, lambda one: one["where"] == "page" or names.append(one["name"]))
    wanted = {"Slice", "Window preset", "Invert", "Play", "Zoom in", "Zoom out", "Reset", "Length", "lesion"}
    assert wanted <= set(names), names
    assert "Delete Length 15.0 mm" in names
    for _ in range(60):
        page.keyboard.press("Shift+Tab")
        if page.evaluate(FOCUSED)["name"] == "lesion":
            break
    page.keyboard.press("Enter")
    view.arrive(9)
    np.testing.assert_array_equal(view.colours(), blended(grey(9), labels_at([LESION], 9), [LESION]))
    until_in_kernel(page, "view.index == 9")

    # Escape gives the keys back to the notebook, where the next cell is written: three planes.
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.type("planes = series.mpr()\nplanes")
    page.keyboard.press("Shift+Enter")
    planes = [Viewer(page, n, page.locator(".rr-view").nth(i + 1)) for i, n in enumerate((SLICES, 96, 80))]
    planes[0].root.wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowUp")
    page.wait_for_function("() => document.activeElement.classList.contains('jp-Cell')")
    tab_to(page, lambda one: one["where"] == "view", most=3)
    page.keyboard.press("Alt+ArrowDown")
    planes[1].arrive(49)
    page.keyboard.press("Alt+ArrowRight")
    planes[2].arrive(41)
    page.keyboard.press("ArrowDown")
    planes[0].arrive(7)
    np.testing.assert_array_equal(planes[1].wait(49), grey_levels(Stored(ARRAY[::-1, 49, :]), WINDOW))

    # Saved and closed.
    page.keyboard.press("Escape")
    page.keyboard.press("Control+s")
    page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty")
    page.keyboard.press("Alt+w")
    page.locator(".rr-view").first.wait_for(state="detached")
    assert "image/png" in (lab.folder / "keys.ipynb").read_text()
    assert page.evaluate("() => window.pointed") == []


def test_a_notebook_opened_again_shows_what_was_seen_and_runs_again(lab, screen, tmp_path):
    page, _guard = screen
    open_notebook(
        page,
        lab,
        "again.ipynb",
        LOAD,
        "view = series.view(index=5)\nview",
        "series.view(index=7, static='none')",
        "series.mpr()",
    )
    view = Viewer(page, SLICES)
    view.root.scroll_into_view_if_needed()
    view.arrive(5)
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    lab.end_kernels()

    page.goto("about:blank")
    show_notebook(page, lab, "again.ipynb")
    said = f"CT Phantom: slice 6 of {SLICES}, W 2048 L 0"
    still = page.get_by_role("img", name=said, exact=True)
    still.wait_for()
    box = still.evaluate("async img => { await img.decode(); return [img.naturalWidth, img.naturalHeight]; }")
    assert min(box) > 100
    page.get_by_text(f"CT Phantom: slice 8 of {SLICES}, W 2048 L 0", exact=True).wait_for()
    assert page.get_by_text("Run the cell again").count() == 3
    assert page.get_by_role("img", name="CT Phantom axial", exact=False).count() == 1
    page.screenshot(path=tmp_path / "again.png")
    assert page.locator(".rr-view").count() == 0
    assert page.get_by_text("rror").count() == 0

    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    view = Viewer(page, SLICES)
    view.root.wait_for()
    view.root.scroll_into_view_if_needed()
    np.testing.assert_array_equal(view.wait(5), grey(5))
    view.stage.focus()
    page.keyboard.press("ArrowDown")
    np.testing.assert_array_equal(view.wait(6), grey(6))
    still.wait_for(state="detached")


def test_two_browsers_on_one_notebook_show_the_same_and_one_goes_on_alone(lab, screen):
    first, guard = screen
    open_notebook(first, lab, "two.ipynb", LOAD, LISTEN)
    here = Viewer(first, SLICES)
    here.root.scroll_into_view_if_needed()
    here.arrive(5)
    first.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    with fresh_page(first.context.browser, guard) as second:
        show_notebook(second, lab, "two.ipynb")
        there = Viewer(second, SLICES)
        there.root.scroll_into_view_if_needed()
        np.testing.assert_array_equal(there.wait(5), grey(5))

        # Each follows the other: slice and window.
        here.stage.focus()
        first.keyboard.press("ArrowDown")
        np.testing.assert_array_equal(there.wait(6), grey(6))
        there.stage.focus()
        second.keyboard.press("4")
        second.keyboard.press("End")
        here.arrive(SLICES - 1)
        here.says("W 400 L 40")
        np.testing.assert_array_equal(here.pixels(), grey(SLICES - 1, (40, 400)))

        # A flood in one is no flood in the other, and nothing goes round between them: both end at the last wish.
        until_in_kernel(first, f"asked == [6, {SLICES - 1}]")
        here.stage.focus()
        for _ in range(20):
            for key in ("Home", "End"):
                first.keyboard.press(key)
        first.keyboard.press("PageUp")
        for one in (here, there):
            one.arrive(1)
            np.testing.assert_array_equal(one.pixels(), grey(1, (40, 400)))
        until_in_kernel(first, "view.index == 1 and asked[-1] == 1")
        in_kernel(first, "assert len(asked) <= 2 + 41, len(asked); settled = len(asked)")
        # Both at once, in turns: it comes to rest, in one state, whoever was last.
        for number in range(5):
            for page in (first, second):
                page.keyboard.press("ArrowDown" if number % 2 == 0 else "ArrowUp")
        until_in_kernel(first, "time.monotonic() - moved > 0.5")
        in_kernel(first, "assert len(asked) - settled <= 10, asked[settled:]")
        first.keyboard.press("Home")
        for one in (here, there):
            np.testing.assert_array_equal(one.wait(0), grey(0, (40, 400)))
    # The one is gone: the other goes on.
    first.keyboard.press("ArrowDown")
    np.testing.assert_array_equal(here.wait(1), grey(1, (40, 400)))
    until_in_kernel(first, "view.index == 1")


def test_the_view_works_in_notebook_7(lab, screen, tmp_path):
    first, guard = screen
    write_notebook(lab, "seven.ipynb", LOAD, "view = series.view(index=5)\nview", "print('READY')")
    with fresh_page(first.context.browser, guard) as page:
        page.goto(lab.url("seven.ipynb").replace("/lab/tree/", "/notebooks/"))
        wait_for_kernel(page, "seven.ipynb")
        run_all(page)
        view = Viewer(page, SLICES)
        view.root.scroll_into_view_if_needed()
        np.testing.assert_array_equal(view.wait(5), grey(5))

        # The wheel belongs to the page until the picture has the focus; keys are not the notebook's: `b`, `d`, `x`.
        view.stage.hover()
        page.mouse.wheel(0, 1)
        assert view.status().startswith("slice 6 ")
        view.stage.focus()
        page.mouse.wheel(0, 100)
        np.testing.assert_array_equal(view.wait(6), grey(6))
        before = page.locator(".jp-Cell").count()
        for key in ("End", "4", "d", "d", "a", "Escape", "b", "x", "Escape"):
            page.keyboard.press(key)
        np.testing.assert_array_equal(view.wait(SLICES - 1), grey(SLICES - 1, (40, 400)))
        assert page.locator(".jp-Cell").count() == before
        until_in_kernel(page, f"(view.index, view.window) == ({SLICES - 1}, (40, 400))")
        page.screenshot(path=tmp_path / "seven.png")
        page.keyboard.press("Escape")
        assert page.evaluate("() => document.activeElement.classList.contains('jp-Cell')")

        page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        lab.end_kernels()
        page.reload()
        page.get_by_role("img", name=f"CT Phantom: slice 6 of {SLICES}, W 2048 L 0", exact=True).wait_for()
