"""Layers that come with pictures or lie in the patient, in one JupyterLab and Chromium: exact colours on the screen."""

import numpy as np
import pytest
from tests.support.dicom_series import ct, phantom, write_series
from tests.support.doses import dose_of
from tests.support.lab import chromium_page, running_lab
from tests.support.nifti import nifti
from tests.support.overlay_planes import with_overlay
from tests.support.presentation import graphic, state, text
from tests.support.viewer import Viewer, in_kernel, open_notebook, themes, until_in_kernel

from readingroom.planes import Stored
from readingroom.viewers import SeriesView
from readingroom.viewers.overlay import COLOURS, Overlay, blended, coloured, labels_at
from readingroom.viewers.render import grey_levels
from readingroom.volume import Frames

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


def beam(x, y):
    """Gy of a made field: 60 in its middle, less to all sides."""
    return 60 * np.exp(-(((x - 15) / 14) ** 2 + ((y - 44) / 11) ** 2))


def test_a_dose_lies_on_its_pixels_with_a_legend(world, pictures):
    folder = write_series(world[0] / "data", "dosed", list(ct(ARRAY, **WINDOW)))
    y, x = np.meshgrid(10 + 3.0 * np.arange(24), -20 + 3.0 * np.arange(27), indexing="ij")
    made = dose_of(
        np.repeat(beam(x, y)[None], 8, axis=0), position=(-20, 10, 96), spacing=(3, 3), offsets=3 * np.arange(8),
        reference="1.2.3.9",
    )  # fmt: skip
    path = world[0] / "work" / "dose.dcm"
    path.parent.mkdir(exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    page, view = opened(world, "dosed", 2, "view.dose('dose.dcm', threshold=20, opacity=0.6)")
    here = SeriesView(Frames.of_files(sorted(folder.iterdir()), "dosed"), index=2, window=(0, 2048))
    here.dose(path, threshold=20, opacity=0.6)
    view.root.locator(".rr-dose").wait_for()
    np.testing.assert_array_equal(view.colours(), here.grey())
    # Coloured is what has 20 Gy and more by the formula, but for the interpolation between the grid's points.
    gray = beam(*np.meshgrid(-10 + 0.75 * np.arange(80), 20 + 0.5 * np.arange(96)))
    coloured_ones = (view.colours() != greys(2)).any(axis=-1)
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
    here.dose_opacity = 0.55
    np.testing.assert_array_equal(view.colours(), here.grey())
    in_kernel(page, "view.dose_threshold, view.dose_opacity = 6, 0.5")
    page.wait_for_function("input => input.value === '6'", arg=least.element_handle())
    here.dose_threshold, here.dose_opacity = 6, 0.5
    np.testing.assert_array_equal(view.colours(), here.grey())
    themes(page, view.root, pictures, "dose")
    view.stage.focus()
    page.keyboard.press("ArrowDown")
    view.arrive(3)
    here.index = 3
    np.testing.assert_array_equal(view.colours(), here.grey())
    in_kernel(page, "view.clear_dose()")
    page.locator(f"{PANEL} .rr-stage:not([data-overlaid])").wait_for()
    np.testing.assert_array_equal(view.colours(), greys(3))
    assert view.root.locator(".rr-dose").is_hidden()


def test_a_nifti_label_map_lies_on_its_pixels(world):
    write_series(world[0] / "data", "labelled", list(ct(ARRAY, **WINDOW)))
    labels = np.random.default_rng(2).integers(0, 3, (80, 96, 6)).astype(np.uint8)
    affine = np.array([[-0.75, 0, 0, 10], [0, -0.5, 0, -20], [0, 0, 2.5, 100], [0, 0, 0, 1]])
    (world[0] / "work").mkdir(exist_ok=True)
    nifti(world[0] / "work" / "seg.nii.gz", labels, affine)
    _page, view = opened(world, "labelled", 4, "view.overlay('seg.nii.gz', opacity=0.3)")
    found = [Overlay("", (labels == n).transpose(2, 1, 0), COLOURS[n - 1], 0.3) for n in (1, 2)]
    np.testing.assert_array_equal(view.colours(), blended(greys(4)[..., 0], labels_at(found, 4), found))
    names = view.root.get_by_role("list", name="Overlays").get_by_role("listitem").all_inner_texts()
    assert names == ["label 1", "label 2"]


def test_masks_are_painted_by_mouse_and_by_keys(world, pictures):
    folder = write_series(world[0] / "data", "painted", list(ct(ARRAY, PatientID="p", **WINDOW)))
    page, view = opened(world, "painted", 2)
    here = SeriesView(Frames.of_files(sorted(folder.iterdir()), "painted"), index=2, window=(0, 2048)).paint()

    def painted(*points, radius=5.0, erase=False, z=2):
        points = [list(p) for p in points]
        here._brush(
            {"what": "stroke", "name": here.brush_name, "z": z, "points": points, "radius": radius, "erase": erase}
        )

    def looks_the_same():
        page.wait_for_function(
            "([canvas, wanted]) => {"
            " const d = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;"
            " return wanted.every((v, i) => d[4 * Math.floor(i / 3) + (i % 3)] === v); }",
            arg=[view.canvas.element_handle(), coloured(here.grey()).ravel().tolist()],
        )
        np.testing.assert_array_equal(view.colours(), coloured(here.grey()))

    # By keyboard alone: the ring begins in the middle, row 48 and column 40.
    view.stage.focus()
    page.keyboard.press("b")
    view.root.get_by_role("combobox", name="Mask that is painted").wait_for()
    page.locator(f"{PANEL} .rr-stage[data-overlaid]").wait_for()
    page.keyboard.press("Enter")
    painted((48, 40))
    view.announces("brush 1: Area")
    looks_the_same()
    page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("x")
    page.keyboard.press("Enter")
    painted((38, 39), erase=True)
    looks_the_same()
    page.keyboard.press("x")
    page.keyboard.press("[")
    view.announces("Radius 4 mm")
    until_in_kernel(page, "view.brush_radius == 4")

    # By mouse, from pixel to pixel; the window stays as it was.
    before = view.window()
    view.drag((20.5, 20.5), (20.5, 60.5))
    until_in_kernel(page, "view.mask('brush 1')[2][20].sum() > 40")
    in_kernel(page, "assert view.mask('brush 1')[2][20, 20:61].all() and not view.mask('brush 1')[2][35, 20:30].any()")
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
    code = "import numpy as np; view.segmentation().save_as('painted.dcm'); np.save('shown.npy', view.grey())"
    in_kernel(page, code)
    np.testing.assert_array_equal(view.colours(), np.load(world[0] / "work" / "shown.npy"))
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowDown")
    view.arrive(3)
    np.testing.assert_array_equal(view.colours(), greys(3))
    again = SeriesView(here._pictures).overlay(world[0] / "work" / "painted.dcm")
    assert [one["name"] for one in again.overlays] == ["brush 1", "brush 2"]
    assert again.mask("brush 2")[2][70, 15:31].all()


def test_a_presentation_state_is_shown_turned_with_its_graphics(world, pictures):
    folder = write_series(world[0] / "data", "presented", list(ct(ARRAY, PatientID="p", **WINDOW)))
    files = sorted(folder.iterdir())
    line = [[10.0, 20.0], [50.0, 20.0], [50.0, 60.0]]
    made = state(
        files,
        [
            graphic("POLYLINE", np.array(line)),
            graphic("CIRCLE", np.array([[40.0, 70.0], [40.0, 80.0]])),
            graphic("ELLIPSE", np.array([[10.0, 80.0], [24.0, 80.0], [17.0, 76.0], [17.0, 84.0]]), filled=True),
        ],
        [text("seen <b>here</b>", bounding_box=(44, 60, 70, 66))],
        windows=[(0, 1500, "LINEAR")],
        ImageRotation=90,
        ImageHorizontalFlip="Y",
        ShutterShape="CIRCULAR",
    )
    (world[0] / "work").mkdir(exist_ok=True)
    made.save_as(world[0] / "work" / "gsps.dcm", enforce_file_format=True)
    page, view = opened(world, "presented", 2, "view = series.present('gsps.dcm', index=2)")
    grey = grey_levels(Stored(ARRAY[2]), (0.0, 1500.0))
    # A quarter turn clockwise, then left and right change: together, rows become columns.
    np.testing.assert_array_equal(view.pixels(), grey.T)
    assert "a shutter: what it hides is shown" in view.root.locator(".rr-notes").inner_text()
    assert view.root.locator(".rr-edge").all_inner_texts() == ["A", "P", "R", "L"]
    seen = view.root.locator("polyline.rr-contour").first.evaluate(
        "line => { const m = line.getScreenCTM(); return [...line.points].map(p => p.matrixTransform(m))"
        ".map(p => [p.x, p.y]); }"
    )
    # Column and row of the stored picture are row and column now.
    np.testing.assert_allclose(seen, [view.at(x, y) for x, y in line], atol=0.01)
    words = view.root.locator(".rr-words")
    assert words.inner_text() == "seen <b>here</b>"
    themes(page, view.root, pictures, "presented")
    view.stage.focus()
    page.keyboard.press("g")
    words.wait_for(state="hidden")
    until_in_kernel(page, "view.graphics is False")
    view.root.get_by_role("button", name="Graphics").click()
    words.wait_for()
