"""Layers that come with pictures or lie in the patient, in one JupyterLab and Chromium: exact colours on the screen."""

import numpy as np
import pytest
from tests.support.dicom_series import ct, phantom, write_series
from tests.support.doses import dose_of
from tests.support.nifti import nifti
from tests.support.overlay_planes import with_overlay
from tests.support.presentation import graphic, state, text
from tests.support.viewer import Viewer, in_kernel, open_notebook, serious, themes, until_in_kernel

from readingroom.planes import Stored
from readingroom.viewers import SeriesView
from readingroom.viewers.overlay import COLOURS, Overlay, blended, coloured, labels_at
from readingroom.viewers.render import grey_levels
from readingroom.volume import Frames

pytestmark = pytest.mark.browser

ARRAY = phantom(6, rows=96, columns=80)
BITS = np.random.default_rng(1).random((30, 40)) > 0.5
LABELS = np.random.default_rng(2).integers(0, 3, (6, 96, 80)).astype(np.uint8)
LINE = [[10.0, 20.0], [50.0, 20.0], [50.0, 60.0]]
WINDOW = (0.0, 2048.0)


def beam(x, y):
    """Gy of a made field: 60 in its middle, less to all sides."""
    return 60 * np.exp(-(((x - 15) / 14) ** 2 + ((y - 44) / 11) ** 2))


def write_all(lab):
    """One series, its third slice with an overlay plane, and beside the notebook what is to be laid on it."""
    made = list(ct(ARRAY, WindowCenter=0, WindowWidth=2048, FrameOfReferenceUID="1.2.3.9", PatientID="p"))
    with_overlay(made[2], BITS, origin=(21, 11))
    folder = write_series(lab.data, "layers", made)
    work = lab.folder
    affine = np.array([[-0.75, 0, 0, 10], [0, -0.5, 0, -20], [0, 0, 2.5, 100], [0, 0, 0, 1]])
    nifti(work / "seg.nii.gz", LABELS.transpose(2, 1, 0), affine)
    y, x = np.meshgrid(10 + 3.0 * np.arange(24), -20 + 3.0 * np.arange(27), indexing="ij")
    dose = dose_of(
        np.repeat(beam(x, y)[None], 8, axis=0), position=(-20, 10, 96), spacing=(3, 3), offsets=3 * np.arange(8),
        reference="1.2.3.9",
    )  # fmt: skip
    dose.save_as(work / "dose.dcm", enforce_file_format=True)
    files = sorted(folder.iterdir())
    graphics = [
        graphic("POLYLINE", np.array(LINE)),
        graphic("CIRCLE", np.array([[40.0, 70.0], [40.0, 80.0]])),
        graphic("ELLIPSE", np.array([[10.0, 80.0], [24.0, 80.0], [17.0, 76.0], [17.0, 84.0]]), filled=True),
    ]
    presented = state(
        files,
        graphics,
        [text("seen <b>here</b>", bounding_box=(44, 60, 70, 66))],
        windows=[(0, 1500, "LINEAR")],
        ImageRotation=90,
        ImageHorizontalFlip="Y",
        ShutterShape="BITMAP",
    )
    presented.save_as(work / "gsps.dcm", enforce_file_format=True)
    return files


@pytest.fixture(scope="module")
def room(lab, screen):
    """The page, the view of the series and that of its presentation state, the files, and the notebook's folder."""
    page, _guard = screen
    files = write_all(lab)
    load = "import readingroom\nseries = readingroom.dataset('layers').series()[0]"
    load += "\nview, asked = series.view(index=2), []"
    load += "\nview.on_msg(lambda _view, said, _buffers: asked.extend(said['z']) if said['k'] == 'get' else None)\nview"
    open_notebook(page, lab, "layers.ipynb", load, "shown = series.present('gsps.dcm', index=2)\nshown")
    views = [Viewer(page, len(ARRAY), page.locator(".rr-view").nth(n)) for n in (0, 1)]
    views[0].root.scroll_into_view_if_needed()
    views[0].arrive(2)
    return page, *views, files, lab.folder


def greys(index):
    return coloured(grey_levels(Stored(ARRAY[index]), WINDOW))


def cleared(page, view, index):
    """The view at a slice, without a layer."""
    in_kernel(page, f"view.clear_overlays(); view.index = {index}")
    view.root.locator(".rr-stage:not([data-overlaid])").wait_for()
    view.arrive(index)
    np.testing.assert_array_equal(view.colours(), greys(index))


def test_overlay_planes_lie_on_their_pixels(room):
    page, view, *_ = room
    expected = greys(2)
    expected[20:50, 10:50][BITS] = COLOURS[0]
    np.testing.assert_array_equal(view.colours(), expected)
    # Each read of a file is on the record: the slice on the screen comes along with the view, or is asked for first;
    # only those ahead of it follow.
    in_kernel(page, "assert asked and min(asked) >= 2 and 2 not in asked[1:], asked")
    view.stage.focus()
    page.keyboard.press("ArrowDown")
    view.arrive(3)
    np.testing.assert_array_equal(view.colours(), greys(3))
    view.root.get_by_role("list", name="Overlays").get_by_role("button", name="overlay plane 1").click()
    view.arrive(2)
    cleared(page, view, 2)


def test_a_nifti_label_map_lies_on_its_pixels(room):
    page, view, *_ = room
    cleared(page, view, 4)
    in_kernel(page, "view.overlay('seg.nii.gz', opacity=0.3)")
    view.root.locator(".rr-stage[data-overlaid]").wait_for()
    found = [Overlay("", n == LABELS, COLOURS[n - 1], 0.3) for n in (1, 2)]
    np.testing.assert_array_equal(view.colours(), blended(greys(4)[..., 0], labels_at(found, 4), found))
    names = view.root.get_by_role("list", name="Overlays").get_by_role("listitem").all_inner_texts()
    assert names == ["label 1", "label 2"]


def test_a_dose_lies_on_its_pixels_with_a_legend(room, pictures):
    page, view, _, files, work = room
    cleared(page, view, 1)
    in_kernel(page, "view.dose('dose.dcm', threshold=20, opacity=0.6)")
    here = SeriesView(Frames.of_files(files, "layers"), index=1, window=WINDOW)
    here.dose(work / "dose.dcm", threshold=20, opacity=0.6)
    view.root.locator(".rr-stage[data-overlaid]").wait_for()
    np.testing.assert_array_equal(view.colours(), here.grey())
    # Coloured is what has 20 Gy and more by the formula, but for the interpolation between the grid's points.
    gray = beam(*np.meshgrid(-10 + 0.75 * np.arange(80), 20 + 0.5 * np.arange(96)))
    coloured_ones = (view.colours() != greys(1)).any(axis=-1)
    assert coloured_ones[gray > 21].all()
    assert not coloured_ones[gray < 19].any()

    least = view.root.get_by_role("spinbutton", name="From")
    assert least.input_value() == "20"
    assert [t.strip() for t in view.root.locator(".rr-dose-ends span").all_inner_texts()] == ["0", "29.6", "59.2 Gy"]
    least.fill("40")
    least.press("Enter")
    until_in_kernel(page, "view.dose_threshold == 40")
    here.dose_threshold = 40
    np.testing.assert_array_equal(view.colours(), here.grey())
    view.root.get_by_role("slider", name="Opacity").press("ArrowLeft")
    until_in_kernel(page, "abs(view.dose_opacity - 0.55) < 1e-9")
    in_kernel(page, "view.dose_threshold, view.dose_opacity = 6, 0.5")
    page.wait_for_function("input => input.value === '6'", arg=least.element_handle())
    here.dose_threshold, here.dose_opacity = 6, 0.5
    np.testing.assert_array_equal(view.colours(), here.grey())
    view.stage.focus()
    themes(page, view.root, pictures, "dose")
    view.stage.focus()
    page.keyboard.press("ArrowDown")
    view.arrive(2)
    here.clear_overlays()
    here.dose(work / "dose.dcm", threshold=6, opacity=0.5)
    here.index = 2
    np.testing.assert_array_equal(view.colours(), here.grey())
    cleared(page, view, 3)
    assert view.root.locator(".rr-dose").is_hidden()


def looks_like(page, view, wanted):
    page.wait_for_function(
        "([canvas, wanted]) => {"
        " const d = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;"
        " return wanted.every((v, i) => d[4 * Math.floor(i / 3) + (i % 3)] === v); }",
        arg=[view.canvas.element_handle(), coloured(wanted).ravel().tolist()],
    )


def test_masks_are_painted_by_mouse_and_by_keys(room, pictures):
    page, view, _, files, work = room
    cleared(page, view, 2)
    here = SeriesView(Frames.of_files(files, "layers"), index=2, window=WINDOW)
    here.clear_overlays()
    here.paint()

    def painted(point, *, erase=False):
        stroke = {"what": "stroke", "name": "brush 1", "z": 2, "points": [list(point)], "radius": 5.0, "erase": erase}
        here._brush(stroke)
        looks_like(page, view, here.grey())

    # By keyboard alone: the ring begins in the middle, row 48 and column 40.
    view.stage.focus()
    page.keyboard.press("b")
    view.root.get_by_role("combobox", name="Mask that is painted").wait_for()
    view.root.locator(".rr-stage[data-overlaid]").wait_for()
    page.keyboard.press("Enter")
    painted((48, 40))
    view.announces("brush 1: Area")
    page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("x")
    page.keyboard.press("Enter")
    painted((38, 39), erase=True)
    page.keyboard.press("x")
    page.keyboard.press("[")
    view.announces("Radius 4 mm")
    until_in_kernel(page, "view.brush_radius == 4")

    # By mouse, from pixel to pixel; the window stays as it was.
    before = view.window()
    view.drag((20.5, 20.5), (20.5, 60.5))
    row = "view.mask('brush 1')[2]"
    until_in_kernel(page, f"{row}[20, 20:61].all() and not {row}[35, 20:30].any()")
    assert view.window() == before
    # Another mask, and one stroke of it taken back.
    view.root.get_by_role("button", name="New mask").click()
    view.root.locator(".rr-legend li", has_text="brush 2").wait_for()
    view.stage.focus()
    view.drag((70.5, 15.5), (70.5, 30.5))
    until_in_kernel(page, "view.mask('brush 2').any()")
    view.drag((80.5, 50.5), (84.5, 70.5))
    until_in_kernel(page, "view.mask('brush 2')[2][80, 50]")
    page.keyboard.press("Backspace")
    until_in_kernel(page, "not view.mask('brush 2')[2][80, 50] and view.mask('brush 2')[2][70, 15:31].all()")
    page.mouse.move(*view.at(60, 60))
    view.root.locator("ellipse.rr-line").wait_for(state="attached")
    themes(page, view.root, pictures, "brush")
    # What Python holds is what is on the screen, here and on another slice.
    in_kernel(page, "import numpy as np; view.segmentation().save_as('painted.dcm'); np.save('shown.npy', view.grey())")
    looks_like(page, view, np.load(work / "shown.npy"))
    again = SeriesView(here._pictures)
    again.clear_overlays()
    again.overlay(work / "painted.dcm")
    assert [one["name"] for one in again.overlays] == ["brush 1", "brush 2"]
    assert again.mask("brush 2")[2][70, 15:31].all()


def test_axe_finds_nothing_serious_in_brush_and_dose(room):
    pytest.importorskip("axe_playwright_python")
    page, view, *_ = room
    in_kernel(page, "view.dose('dose.dcm')")
    view.root.locator(".rr-dose").wait_for()
    assert serious(page, view.root) == {}
    view.stage.focus()
    page.keyboard.press("Escape")
    view.root.get_by_role("combobox", name="Mask that is painted").wait_for(state="hidden")
    cleared(page, view, 3)


def test_a_presentation_state_is_shown_turned_with_its_graphics(room, pictures):
    page, _, view, *_ = room
    view.root.scroll_into_view_if_needed()
    view.arrive(2)
    # A quarter turn clockwise, then left and right change: together, rows become columns.
    np.testing.assert_array_equal(view.pixels(), grey_levels(Stored(ARRAY[2]), (0.0, 1500.0)).T)
    assert "a shutter (bitmap): what it hides is shown" in view.root.locator(".rr-notes").inner_text()
    assert view.root.locator(".rr-edge").all_inner_texts() == ["A", "P", "R", "L"]
    seen = view.root.locator("polyline.rr-contour").first.evaluate(
        "line => { const m = line.getScreenCTM(); return [...line.points].map(p => p.matrixTransform(m))"
        ".map(p => [p.x, p.y]); }"
    )
    # Column and row of the stored picture are row and column now.
    np.testing.assert_allclose(seen, [view.at(x, y) for x, y in LINE], atol=0.01)
    words = view.root.locator(".rr-words")
    assert words.inner_text() == "seen <b>here</b>"
    themes(page, view.root, pictures, "presented")
    view.stage.focus()
    page.keyboard.press("g")
    words.wait_for(state="hidden")
    until_in_kernel(page, "shown.graphics is False")
    view.root.get_by_role("button", name="Graphics").click()
    words.wait_for()
