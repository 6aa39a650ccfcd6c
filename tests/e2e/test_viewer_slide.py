"""A whole slide in JupyterLab and Chromium: tiles to the pixel, moved and zoomed, gone when access ends."""

import base64

import numpy as np
import pytest
from tests.support.dicom_series import write_series
from tests.support.slides import pyramid, slide_instance, tissue
from tests.support.viewer import in_kernel, kernel_held, open_notebook, serious, themes, until_in_kernel

pytestmark = pytest.mark.browser

LOAD = """import readingroom
view, sparse = (readingroom.dataset(name).series()[0].view() for name in ('slide', 'sparse-slide'))"""


# As text: half a million numbers one by one take a minute.
PIXELS = """canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let text = "";
  for (let i = 0; i < data.length; i += 8192) text += String.fromCharCode(...data.subarray(i, i + 8192));
  return [canvas.height, canvas.width, btoa(text)];
}"""


def shown(slide):
    rows, columns, text = slide.locator("canvas").first.evaluate(PIXELS)
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(rows, columns, 4)[..., :3]


def settled(page, slide, level):
    """Wait until all tiles are there, at this level."""
    page.wait_for_function(
        "([root, level]) => root.dataset.level === String(level) && !root.hasAttribute('aria-busy')",
        arg=[slide.element_handle(), level],
    )
    return shown(slide)


def look(page, centre, field):
    in_kernel(page, f"with view.hold_trait_notifications():\n    view.centre, view.field = {centre}, {field}")


def test_a_slide_is_moved_about_in(lab, screen, pictures, tmp_path):
    (page, _guard) = screen
    made, levels = pyramid(2048, 1536, (1, 2, 8), draw=tissue, tile=256)
    label = slide_instance([np.full((64, 64, 3), 90, np.uint8)], flavour="LABEL")
    write_series(lab.data, "slide", [*made, label])
    grey = [np.full((100, 200), 40 * n + 40, np.uint8) for n in range(4)]
    sparse = slide_instance(grey, paths=("a", "b"), organisation="TILED_SPARSE", missing=((0, 0),), compressed=True)
    write_series(lab.data, "sparse-slide", [sparse])
    open_notebook(page, lab, "slide.ipynb", f"{LOAD}\nview", "sparse")
    slide, other = (page.locator(".rr-slide").nth(n) for n in range(2))
    slide.scroll_into_view_if_needed()
    # All of it is shown from the level that suffices, and what is no slide is not shown.
    settled(page, slide, 1)
    assert "Not shown: 1 label" in slide.inner_text()
    stage = slide.get_by_role("application")
    across, down = (round(stage.bounding_box()[side]) for side in ("width", "height"))
    assert shown(slide).shape[:2] == (down, across)

    # A pixel of the screen for one of a level: it is that pixel.
    for level, step in ((0, 1), (1, 2)):
        x, y = across // 2 + 100, down // 2 + 60
        look(page, (x * step, y * step), across * step)
        picture = settled(page, slide, level)
        left, top = x - across / 2, y - down / 2
        expected = levels[level][round(top) : round(top) + down, round(left) : round(left) + across]
        np.testing.assert_array_equal(picture[: expected.shape[0], : expected.shape[1]], expected)

    # By hand: the notebook scrolls until the slide has the focus; then the wheel zooms about the pointer, a drag moves.
    page.mouse.wheel(0, 1)
    until_in_kernel(page, f"view.field == {across * 2}")
    stage.focus()
    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -100)
    until_in_kernel(page, f"abs(view.field - {across * 2} / 1.25) < 1e-6")
    look(page, (900, 700), across)
    settled(page, slide, 0)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 - 40, box["y"] + box["height"] / 2 + 24, steps=4)
    page.mouse.up()
    until_in_kernel(page, "abs(view.centre[0] - 940) < 1.5 and abs(view.centre[1] - 676) < 1.5")
    # By keyboard.
    page.keyboard.press("ArrowRight")
    until_in_kernel(page, f"abs(view.centre[0] - 940 - {across} / 8) < 1.5")
    for key in "+-+":
        page.keyboard.press(key)
    until_in_kernel(page, f"abs(view.field - {across} / 1.25) < 1e-6")
    page.keyboard.press("0")
    settled(page, slide, 1)
    slide.get_by_text("Keys and mouse").click()
    slide.get_by_text("Keys and mouse").click()
    assert " x, " in slide.locator(".rr-slide-status").inner_text()
    assert serious(page, slide, 5) == {}
    look(page, (900, 700), 800)
    settled(page, slide, 0)
    themes(page, slide, pictures, "slide")

    it_says_that_the_kernel_is_busy(page, slide, tmp_path)
    several_paths_and_planes(page, other)
    the_tiles_go_when_access_ends(page, lab, slide)


def it_says_that_the_kernel_is_busy(page, slide, folder):
    slide.get_by_role("application").focus()
    page.keyboard.press("0")
    settled(page, slide, 1)
    with kernel_held(page, folder):
        for _ in range(6):
            page.keyboard.press("+")
            page.keyboard.press("Shift+ArrowRight")
        slide.locator(".rr-slide-status", has_text="waiting for the kernel, which may be busy").wait_for()
    settled(page, slide, 0)
    assert "waiting" not in slide.locator(".rr-slide-status").inner_text()


def several_paths_and_planes(page, slide):
    slide.scroll_into_view_if_needed()
    settled(page, slide, 0)
    for path in range(2):
        for plane in range(2):
            slide.get_by_role("combobox", name="Optical path").select_option(str(path))
            slide.get_by_role("combobox", name="Focal plane").select_option(str(plane))
            picture = settled(page, slide, 0)
            middle = picture[picture.shape[0] // 2, picture.shape[1] // 2]
            assert (middle == 80 * path + 40 * plane + 40).all()
    # The tile that it has not: black, in the upper left.
    edge = picture[picture.shape[0] // 2 - 130, picture.shape[1] // 2 - 250]
    assert (edge == 0).all()


def the_tiles_go_when_access_ends(page, lab, slide):
    slide.scroll_into_view_if_needed()
    (folder,) = lab.data.glob("slide/*/*")
    hidden = folder.rename(folder.with_name("hidden"))
    slide.locator(".rr-slide-error", has_text=str(folder)).wait_for()
    for canvas in slide.locator("canvas").all():
        assert canvas.evaluate("canvas => [canvas.width, canvas.height].join()") == "1,1"
    hidden.rename(folder)
    slide.get_by_role("application").focus()
    page.keyboard.press("0")
    settled(page, slide, 1)
    assert slide.locator(".rr-slide-error").is_hidden()
