"""Grey values, measuring and cine in one JupyterLab and Chromium, and the viewer under axe-core."""

import base64
import io

import numpy as np
import pydicom
import pytest
from PIL import Image
from tests.support.dicom_series import ct, instance, phantom, write_series
from tests.support.viewer import (
    Viewer,
    in_kernel,
    open_notebook,
    serious,
    show_notebook,
    themes,
    until_in_kernel,
    write_notebook,
)

from readingroom.planes import Stored
from readingroom.viewers import SeriesView
from readingroom.viewers.colours import PALETTES
from readingroom.viewers.render import grey_levels
from readingroom.volume import Frames

pytestmark = pytest.mark.browser

RAMP = phantom(12, rows=96, columns=80)
# A box of 40 HU in air, and a half of it of 60 HU in one slice. Rows 0.5 mm, columns 0.75 mm apart.
BOX = np.full((4, 96, 80), -1000, np.int16)
BOX[:, 20:40, 20:60] = 40
BOX[2, 20:40, 20:40] = 60
PANEL = ".jp-NotebookPanel:not(.lm-mod-hidden)"
LINKED = """import ipywidgets
other = readingroom.dataset('measure').series()[0].view(index=2)
link = ipywidgets.jslink((view, 'annotations'), (other, 'annotations'))
other"""
# A step of a drag, and what it leaves: the canvas, and the place of its left upper corner among the picture's pixels.
DRAGGED = """(stage, [x, y]) => {
  const canvas = stage.querySelector('canvas');
  stage.dispatchEvent(new PointerEvent('pointermove', { clientX: x, clientY: y, bubbles: true }));
  const [inner, outer] = [canvas, stage.querySelector('.rr-layer')].map((one) => one.getBoundingClientRect());
  const part = [(inner.top - outer.top) / outer.height, (inner.left - outer.left) / outer.width];
  const room = stage.clientWidth * stage.clientHeight * devicePixelRatio ** 2;
  return [canvas.toDataURL(), ...part, inner.height / outer.height, room];
}"""
QUESTIONS = """() => {
  window.questions = [];
  window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.anyMessage.connect((_, { msg, direction }) => {
    const told = msg.content?.data?.content;
    if (direction === 'send' && told?.k === 'get') window.questions.push(...told.z);
  });
}"""
SAMPLE = """stage => { window.seen = []; new MutationObserver(() => {
  const z = Number(stage.dataset.slice), t = performance.now();
  if (window.seen.at(-1)?.[0] !== z) window.seen.push([z, t]);
}).observe(stage, { attributes: true }); }"""


@pytest.fixture(scope="module")
def world(lab, screen):
    return lab.data, lab, screen[0]


def png(url):
    """The grey levels (rows, columns) of a canvas's data URL."""
    colours = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))))[..., :3]
    assert (colours == colours[..., :1]).all()
    return colours[..., 0]


def opened(world, name, count, index, *cells):
    """A notebook with the view of the dataset `name`, at one of its slices, and more cells."""
    _data, lab, page = world
    load = f"import readingroom\nview = readingroom.dataset('{name}').series()[0].view(index={index})\nview"
    open_notebook(page, lab, f"{name}.ipynb", load, *cells)
    view = Viewer(page, count, page.locator(f"{PANEL} .rr-view").first)
    view.root.scroll_into_view_if_needed()
    view.wait(index)
    return page, view


def test_the_first_slice_comes_along_with_the_view_and_is_not_asked_for(world):
    _data, lab, page = world
    folder = write_series(world[0], "along", list(ct(RAMP)))
    here = SeriesView(Frames.of_files(sorted(folder.iterdir()), "along"), index=5)
    load = "import readingroom\nview = readingroom.dataset('along').series()[0].view(index=5)\nview"
    write_notebook(lab, "along.ipynb", load, "view", "print('READY')")
    show_notebook(page, lab, "along.ipynb")
    page.evaluate(QUESTIONS)
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-cell-and-select-next'); }")
    views = [Viewer(page, len(RAMP), page.locator(f"{PANEL} .rr-view").nth(i)) for i in range(2)]
    np.testing.assert_array_equal(views[0].wait(5), here.grey())
    page.wait_for_function("() => window.questions.length > 0")
    assert 5 not in page.evaluate("() => window.questions")
    # Of the next view nothing comes along.
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-cell-and-select-next'); }")
    np.testing.assert_array_equal(views[1].wait(5), here.grey())
    assert 5 in page.evaluate("() => window.questions")


def test_sigmoid_and_lut_equal_pythons(world, tmp_path):
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "SS", [3000, -1024, 12])
    item.add_new("LUTData", "OW", (np.linspace(0, 1, 3000) ** 2 * 4095).astype("<u2").tobytes())
    item.LUTExplanation = "CURVE"
    more = {"VOILUTFunction": "SIGMOID", "WindowCenter": 100, "WindowWidth": 700, "VOILUTSequence": [item]}
    folder = write_series(world[0], "grey", list(ct(RAMP[:4], **more)))
    here = SeriesView(Frames.of_files(sorted(folder.iterdir()), "grey"), index=1)
    page, view = opened(world, "grey", 4, 1)
    np.testing.assert_array_equal(view.wait(1), here.grey())
    assert view.status() == "slice 2 of 4, W 700 L 100"

    # The LUT is the last preset: 7 follow the window as stored.
    view.stage.focus()
    page.keyboard.press("8")
    view.says("slice 2 of 4, CURVE")
    here.lut = 0
    np.testing.assert_array_equal(view.pixels(), here.grey())
    until_in_kernel(page, "view.lut == 0")
    in_kernel(page, "view.invert = True")
    view.says("inverted")
    here.invert = True
    np.testing.assert_array_equal(view.pixels(), here.grey())
    view.root.screenshot(path=tmp_path / "grey.png")

    # A window of one's own leaves it.
    page.keyboard.press("Shift+ArrowUp")
    view.says("W 700 L 135")
    here.window = (135, 700)
    np.testing.assert_array_equal(view.pixels(), here.grey())
    until_in_kernel(page, "view.lut is None and view.window == (135, 700)")


def test_a_slice_that_came_along_before_something_was_laid_over_it_is_asked_for_anew(world):
    _data, lab, page = world
    write_series(world[0], "laid", list(ct(RAMP)))
    load = """import readingroom
view = readingroom.dataset('laid').series()[0].view(index=5)
output = view._repr_mimebundle_()
view.overlay(view._pictures.stored(5).pixels[None].repeat(12, 0) > 900, 'high')"""
    open_notebook(page, lab, "laid.ipynb", load + "\ndisplay(output[0], raw=True)")
    view = Viewer(page, len(RAMP), page.locator(f"{PANEL} .rr-view").first)
    page.wait_for_function("stage => stage.hasAttribute('data-overlaid')", arg=view.stage.element_handle())
    here = SeriesView(Frames.of_files(sorted((world[0] / "laid").rglob("*.dcm")), "laid"), index=5)
    here.overlay(here._pictures.stored(5).pixels[None].repeat(12, 0) > 900, "high")
    np.testing.assert_array_equal(view.colours(), here.grey())


@pytest.mark.parametrize(("kind", "slope"), [("uint16", 0.75), ("uint16", -2.0), ("int16", 1.0)])
def test_every_stored_value_is_shown_as_python_shows_it(world, kind, slope):
    every = np.arange(1 << 16).astype(kind).reshape(256, 256)
    name = f"every-{kind}-{'down' if slope < 0 else 'up'}"
    more = {"RescaleSlope": str(slope), "RescaleIntercept": "-1000", "WindowCenter": 0, "WindowWidth": 100}
    folder = write_series(world[0], name, [instance(every, position=(0.0, 0.0, 0.0), number=1, **more)])
    here = SeriesView(Frames.of_files(sorted(folder.iterdir()), name))
    page, view = opened(world, name, 1, 0)
    np.testing.assert_array_equal(view.wait(0), here.grey())
    # Within the values, at their ends, over all of them and beyond.
    for window in [(40, 400), (5000.3, 1), (-20000, 3), (32767, 4096), (-1000, 70000), (0, 300000), (500000, 10)]:
        in_kernel(page, f"view.window = {window}")
        here.window = window
        view.says(f"W {window[1]} L {window[0]}")
        np.testing.assert_array_equal(view.pixels(), here.grey())


def test_a_window_dragged_over_a_large_picture_is_drawn_for_the_screen_until_it_rests(world):
    _data, lab, page = world
    rows, columns = 901, 1403
    large = """import numpy as np, readingroom
big = (np.arange(901)[:, None] * 7 + np.random.default_rng(1).integers(0, 500, (901, 1403))).astype(np.int16)[None]
view = readingroom.view(big, window=(3000, 6000))
view"""
    open_notebook(page, lab, "large.ipynb", large)
    big = (np.arange(rows)[:, None] * 7 + np.random.default_rng(1).integers(0, 500, (rows, columns))).astype(np.int16)
    view = Viewer(page, 1, page.locator(f"{PANEL} .rr-view").first)
    view.root.scroll_into_view_if_needed()
    view.arrive(0)

    def drawn():
        return png(view.canvas.evaluate("canvas => canvas.toDataURL()"))

    def dragged_to(x, y):
        """Of one step of a drag: what is drawn; the picture's part that this is, one mean for each block."""
        url, top, left, height, room = view.stage.evaluate(DRAGGED, [x, y])
        draft = png(url)
        assert draft.size < 4.1 * room
        step = round(height * rows / len(draft))
        row, column = (round(v) for v in (top * rows, left * columns))
        blocks = big[row : row + step * draft.shape[0], column : column + step * draft.shape[1]]
        blocks = blocks.reshape(draft.shape[0], step, draft.shape[1], step).astype(float)
        return step, draft, np.floor(blocks.mean((1, 3)) + 0.5)

    np.testing.assert_array_equal(drawn(), grey_levels(Stored(big), (3000, 6000)))
    box = view.stage.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for zoom, pan, step in [(1, (0, 0), 2), (3, (200, -100), 1), (1, (900, 0), 2)]:
        in_kernel(page, f"view.zoom, view.pan, view.window = {zoom}, {pan}, (3000, 6000)")
        view.says("W 6000 L 3000")
        page.mouse.move(*middle)
        page.mouse.down()
        for by in (10, 40):
            found, draft, means = dragged_to(middle[0] + by, middle[1] - by)
            assert found == step
            np.testing.assert_array_equal(draft, grey_levels(Stored(means), view.window()))
        # Held still, it is the picture itself, and so it is once let go.
        page.wait_for_function("canvas => canvas.width === 1403", arg=view.canvas.element_handle())
        np.testing.assert_array_equal(drawn(), grey_levels(Stored(big), view.window()))
        page.mouse.move(middle[0] - 30, middle[1])
        page.mouse.up()
        np.testing.assert_array_equal(drawn(), grey_levels(Stored(big), view.window()))
        assert view.canvas.evaluate("canvas => canvas.style.width + canvas.style.inset") == ""
        until_in_kernel(page, f"view.window == {view.window()}")


def test_colours_equal_pythons(world, pictures):
    folder = write_series(world[0], "colours", list(ct(RAMP[:4])))
    here = SeriesView(Frames.of_files(sorted(folder.iterdir()), "colours"), index=1)
    page, view = opened(world, "colours", 4, 1, "view.histogram()")
    view.stage.focus()
    page.keyboard.press("m")
    view.says("colours Hot iron")
    until_in_kernel(page, "view.colours == 'HOT_IRON'")
    for name in PALETTES:
        in_kernel(page, f"view.colours = {name!r}")
        view.says(f"colours {name.capitalize().replace('_', ' ')}")
        here.colours = name
        np.testing.assert_array_equal(view.colours(), here.grey())
    view.root.get_by_role("combobox", name="Colours").select_option("HOT_IRON")
    view.says("colours Hot iron")
    themes(page, view.root, pictures, "colours")
    in_kernel(page, "view.invert = True; view.window = (100, 300)")
    view.says("W 300 L 100, inverted, colours Hot iron")
    here.colours, here.invert, here.window = "HOT_IRON", True, (100, 300)
    np.testing.assert_array_equal(view.colours(), here.grey())
    chart = page.get_by_role("img", name="Histogram: 7680 pixels")
    chart.scroll_into_view_if_needed()
    assert "window from -50 to 250" in chart.get_attribute("aria-label")
    assert chart.locator("rect:not(.rr-within)").count() == len(here.histogram().chart["counts"])
    output = page.locator(f"{PANEL} .jp-OutputArea-output", has=page.locator("svg.rr-histogram"))
    themes(page, output, pictures, "histogram")
    in_kernel(page, "view.colours = ''")
    view.says("inverted")
    here.colours = ""
    np.testing.assert_array_equal(view.pixels(), here.grey())


def test_measuring_by_mouse_and_by_keys(world, pictures):
    write_series(world[0], "measure", list(ct(BOX, FrameOfReferenceUID="1.2.3.9")))
    page, view = opened(world, "measure", 4, 2, LINKED)
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
    view.announces("Length 8.5 mm")

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
    view.marks(4)
    page.keyboard.press("e")
    view.drag((25, 25), (35, 35))
    page.keyboard.press("f")
    view.drag((70, 50), (70, 75), (90, 75), (90, 50))
    view.marks(6)
    assert view.window() == before
    page.keyboard.press("Escape")
    view.marks(6)
    themes(page, view.root, pictures, "measure")

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
    until_in_kernel(page, "[one['kind'] for one in view.annotations] == ['length']")

    # What is refused is said.
    page.keyboard.press("r")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    view.announces("has no width")

    # A linked view of the same patient gets what is drawn here, and measures the same.
    page.keyboard.press("Escape")
    page.keyboard.press("l")
    view.drag((10, 10), (10, 50))
    view.marks(2)
    other = Viewer(page, 4, page.locator(f"{PANEL} .rr-view").nth(1))
    other.marks(2)
    same = "assert other.measurements().equals(view.measurements()) and len(other.annotations) == 2"
    in_kernel(page, same)


def test_a_cine_shows_every_picture_in_turn_at_its_rate(world):
    write_series(world[0], "cine", list(ct(RAMP, FrameOfReferenceUID="1.2.3.9", CineRate=20)))
    page, view = opened(world, "cine", 12, 0)
    assert view.root.get_by_role("spinbutton", name="Pictures a second").input_value() == "20"
    view.stage.evaluate(SAMPLE)
    view.stage.focus()
    page.keyboard.press(" ")
    page.wait_for_function("() => window.seen.length > 40")
    assert view.root.locator(".rr-status").get_attribute("aria-live") == "off"
    page.keyboard.press(" ")
    view.root.get_by_role("button", name="Play").wait_for()
    seen = page.evaluate("() => window.seen")
    order = [z for z, _ in seen]
    assert order == [(order[0] + i) % 12 for i in range(len(order))]
    # Never faster than it is meant to be, but for the screen's own beat; a busy machine may be slower.
    assert np.median(np.diff([t for _, t in seen])) > 1000 / 20 - 18
    # It stops on the picture that it shows, and Python knows which.
    count = len(page.evaluate("() => window.seen"))
    until_in_kernel(page, "not view.playing")
    in_kernel(page, "view.rate = 60; view.index = 3")
    view.arrive(3)
    assert len(page.evaluate("() => window.seen")) <= count + 2
    assert view.root.get_by_role("spinbutton", name="Pictures a second").input_value() == "60"

    # Python starts and stops it, too.
    in_kernel(page, "view.playing = True")
    view.root.get_by_role("button", name="Stop").click()
    until_in_kernel(page, "view.playing is False")


def test_series_hang_side_by_side(world, pictures):
    frame = {"FrameOfReferenceUID": "1.2.3.9"}
    prior = write_series(world[0], "prior", list(ct(RAMP, **frame)))
    current = write_series(world[0], "current", list(ct(RAMP[:6, ::2, ::2], 5.0, **frame)))
    here = [SeriesView(Frames.of_files(sorted(f.iterdir()), "here")) for f in (prior, current)]
    _data, lab, page = world
    load = """import readingroom
hung = readingroom.hang([readingroom.dataset(name).series()[0] for name in ('prior', 'current')])
hung"""
    open_notebook(page, lab, "hang.ipynb", load)
    roots = page.locator(f"{PANEL} .rr-view")
    first, second = Viewer(page, 12, roots.nth(0)), Viewer(page, 6, roots.nth(1))
    first.root.scroll_into_view_if_needed()

    def shown(*indices):
        for view, one, index in zip((first, second), here, indices, strict=True):
            one.index = index
            np.testing.assert_array_equal(view.wait(index), one.grey())

    shown(6, 3)
    # Two slices of 2.5 mm are one of 5 mm.
    first.stage.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    shown(8, 4)
    second.stage.focus()
    page.keyboard.press("Home")
    shown(0, 0)
    themes(page, page.locator(f"{PANEL} .jp-OutputArea-output", has=page.locator(".rr-view")), pictures, "hang")

    # By keyboard: one window for both, and one series at a time.
    page.get_by_role("button", name="Same window").focus()
    page.keyboard.press("Enter")
    until_in_kernel(page, "hung.window")
    first.stage.focus()
    page.keyboard.press("i")
    second.says("inverted")
    page.get_by_role("button", name="Blink").focus()
    page.keyboard.press("Enter")
    second.root.wait_for(state="hidden")
    in_kernel(page, "hung.front = 1")
    first.root.wait_for(state="hidden")
    second.root.wait_for(state="visible")
    page.get_by_role("button", name="Alternate").focus()
    page.keyboard.press("Enter")
    for one in (first, second, first):
        one.root.wait_for(state="visible")
    page.locator(".rr-hang").get_by_role("button", name="Stop").focus()
    page.keyboard.press("Space")
    in_kernel(page, "hung.blink = hung.position = False")
    page.get_by_role("button", name="Link what is shown").focus()
    page.keyboard.press("Enter")
    until_in_kernel(page, "hung.position")
    assert serious(page, page.locator(".rr-hang"), 5) == {}


def test_axe_finds_nothing_serious(world, tmp_path):
    write_series(world[0], "axe", list(ct(RAMP[:4])))
    page, view = opened(world, "axe", 4, 0)
    in_kernel(page, "view.overlay(view._pictures.stored(0).pixels[None].repeat(4, 0) > 900, 'high')")
    view.root.locator(".rr-legend li").wait_for()
    view.stage.focus()
    page.keyboard.press("r")
    view.drag((20.1, 20.1), (39.9, 59.9))
    view.root.locator(".rr-measured li").wait_for()
    view.root.locator("summary").click()
    found = serious(page, view.root)
    themes(page, view.root, tmp_path, "cine")
    assert found == {}
