"""The series viewer in JupyterLab and Chromium: what is on the screen is read from the canvas, not believed."""

import base64
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import TimeoutError  # noqa: A004  Playwright's own
from tests.support.dicom_series import ct, phantom, write_series
from tests.support.viewer import Viewer, in_each_theme, show_notebook

from readingroom.planes import Stored
from readingroom.viewers.render import grey_levels

pytestmark = pytest.mark.browser

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SLICES = 40
WINDOW = (0.0, 2048.0)
ARRAY = phantom(SLICES, rows=96, columns=80)


def expected(index, window=WINDOW, *, inverted=False):
    return grey_levels(Stored(ARRAY[index]), window, inverted=inverted)


def run(page, command, **arguments):
    return page.evaluate("([c, a]) => window.jupyterapp.commands.execute(c, a)", [command, arguments])


@pytest.fixture(scope="module")
def world(lab, screen, tmp_path_factory):
    page, guard = screen
    series = write_series(lab.data, "chest-ct-demo", list(ct(ARRAY, WindowCenter=WINDOW[0], WindowWidth=WINDOW[1])))
    notebook = json.loads((NOTEBOOKS / "01-first-look.ipynb").read_text())
    last = {**notebook["cells"][-2], "id": "last", "source": "print('SAID', view.describe(), view.zoom)"}
    notebook["cells"].append(last)
    # Tests that ran before brought datasets, too: the first one may be theirs.
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"]).replace('dataset = ""', 'dataset = "chest-ct-demo"')
    (lab.folder / "first.ipynb").write_text(json.dumps(notebook))
    show_notebook(page, lab, "first.ipynb")
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    try:
        page.locator(".jp-OutputArea-output", has_text="SAID").wait_for(timeout=60_000)
    except TimeoutError:
        page.screenshot(path=tmp_path_factory.mktemp("failed") / "not-run.png")
        raise
    return lab, page, guard, series


def test_a_researcher_looks_at_a_series(world, tmp_path):
    lab, page, guard, series = world
    view = Viewer(page, SLICES)
    view.stage.scroll_into_view_if_needed()

    # The first-look notebook ends at the first slice, set from Python.
    np.testing.assert_array_equal(view.wait(0), expected(0))
    assert view.status() == f"slice 1 of {SLICES}, W 2048 L 0"

    # The wheel belongs to the page until the picture has the focus.
    view.stage.hover()
    page.mouse.wheel(0, 1)
    assert view.status().startswith("slice 1 ")
    view.stage.scroll_into_view_if_needed()
    view.stage.focus()
    view.stage.hover()
    for index in (1, 2, 3):
        page.mouse.wheel(0, 100)
        np.testing.assert_array_equal(view.wait(index), expected(index))
    page.mouse.wheel(0, -100)
    np.testing.assert_array_equal(view.wait(2), expected(2))

    # Keys, and the slider's own keys.
    for key, index in [("End", SLICES - 1), ("PageUp", SLICES - 11), ("ArrowDown", SLICES - 10), ("Home", 0)]:
        page.keyboard.press(key)
        np.testing.assert_array_equal(view.wait(index), expected(index))
    view.root.locator("input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    np.testing.assert_array_equal(view.wait(1), expected(1))

    # A drag changes the window: the pixels equal Python's, to the level.
    box = view.stage.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 130, steps=4)
    page.mouse.up()
    dragged = view.window()
    assert dragged[1] < WINDOW[1]
    assert dragged[0] > WINDOW[0]
    np.testing.assert_array_equal(view.pixels(), expected(1, dragged))

    # Shift with arrows does the same from the keyboard; presets and inversion.
    page.keyboard.press("Shift+ArrowLeft")
    narrower = view.window()
    assert narrower[1] < dragged[1]
    np.testing.assert_array_equal(view.pixels(), expected(1, narrower))
    page.keyboard.press("4")
    assert view.window() == (40, 400)
    np.testing.assert_array_equal(view.pixels(), expected(1, (40, 400)))
    page.keyboard.press("i")
    page.wait_for_function("() => document.querySelector('.rr-bar button[aria-pressed=\"true\"]')")
    np.testing.assert_array_equal(view.pixels(), expected(1, (40, 400), inverted=True))
    page.keyboard.press("+")
    assert "scale(1.25)" in view.canvas.get_attribute("style")

    # Letters in the viewer are not the notebook's shortcuts: `a` and `b` would add cells.
    before = page.locator(".jp-Cell").count()
    for key in "abxd":
        page.keyboard.press(key)
    # `a` began an angle: Escape ends that first, and keeps the focus.
    page.keyboard.press("Escape")
    assert page.locator(".jp-Cell").count() == before
    assert view.stage.evaluate("stage => stage === document.activeElement")

    # Python hears all of it.
    said_by_python(page, f"CT Phantom: slice 2 of {SLICES}, W 400 L 40, inverted 1.25")

    for theme in in_each_theme(page):
        view.root.scroll_into_view_if_needed()
        view.root.screenshot(path=tmp_path / f"viewer-{theme.lower()}.png")

    the_saved_notebook_keeps_a_still_picture(page, lab)
    a_read_error_clears_the_picture(page, view, series)
    assert guard.outside == []
    assert {"http", "ws"} <= guard.schemes


def said_by_python(page, text):
    cell = page.locator(".jp-CodeCell").last
    cell.scroll_into_view_if_needed()
    cell.locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    page.get_by_text(f"SAID {text}", exact=True).wait_for()


def the_saved_notebook_keeps_a_still_picture(page, lab):
    run(page, "docmanager:save")
    saved = json.loads((lab.folder / "first.ipynb").read_text())
    (output,) = next(c for c in saved["cells"] if c["id"] == "view")["outputs"]
    text = "".join(output["data"]["text/plain"])
    # As it was when the cell ran: the middle slice.
    assert text == f"CT Phantom: slice {SLICES // 2 + 1} of {SLICES}, W 2048 L 0"
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(output["data"]["image/png"]))))
    grey = expected(SLICES // 2)
    rows = picture.shape[0] - 18
    for row, column in [(5, 5), (200, 300), (rows - 5, 500)]:
        at = (int((row + 0.5) / rows * grey.shape[0]), int((column + 0.5) / 512 * grey.shape[1]))
        assert picture[row, column] == grey[at]
    assert (lab.folder / "first.ipynb").stat().st_size < 300_000
    shutil.copy(lab.folder / "first.ipynb", lab.folder / "copy.ipynb")
    subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "html", "--template", "classic", str(lab.folder / "copy.ipynb")],
        check=True,
        capture_output=True,
    )
    converted = (lab.folder / "copy.html").read_text()
    assert "".join(output["data"]["image/png"]).strip() in converted.replace("\n", "")
    assert f'alt="{text}"' in converted


def a_read_error_clears_the_picture(page, view, series):
    view.root.scroll_into_view_if_needed()
    view.stage.focus()
    page.keyboard.press("Home")
    view.wait(0)
    for path in series.iterdir():
        path.unlink()
    # Slices 13 to 20 are in no cache. Requests in advance are under way, and fail, when the last one is wished for.
    page.keyboard.press("PageDown")
    for _ in range(7):
        page.keyboard.press("ArrowDown")
    view.root.locator(".rr-error", has_text="is not there").wait_for()
    assert view.canvas.evaluate("canvas => [canvas.width, canvas.height]") == [1, 1]
    assert view.canvas.is_hidden()
