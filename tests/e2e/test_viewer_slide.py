"""A whole slide in JupyterLab and Chromium: tiles to the pixel, moved and zoomed, gone when access ends."""

import base64
import re

import numpy as np
import pytest
from PIL import Image
from tests.support.dicom_series import write_series
from tests.support.slides import jpeg, pyramid, slide_instance, swapped_primaries, tissue, unmarked_rgb
from tests.support.viewer import in_kernel, kernel_held, open_notebook, serious, themes, until_in_kernel

from readingroom.slides import Slide
from readingroom.viewers.slide_pictures import Shades

pytestmark = pytest.mark.browser

PANEL = ".jp-NotebookPanel:not(.lm-mod-hidden)"

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


def without_tables(pixels):
    made = jpeg(pixels)
    at = made.index(b"\xff\xdb")
    return made[:at] + made[made.index(b"\xff\xc0") :]


TURNED = Image.Exif()
TURNED[0x0112] = 6
# How tiles are stored, whether a profile says what they mean, and how far a browser's decoder may be from Pillow's.
STORED = {
    "plain": ({"compressed": True, "encode": lambda p: jpeg(p, subsampling=2)}, 2),
    "rgb": ({"compressed": True, "encode": unmarked_rgb, "PhotometricInterpretation": "RGB"}, 2),
    "meant": ({"compressed": True, "profile": swapped_primaries(), "encode": lambda p: jpeg(p, exif=TURNED)}, 4),
    "native": ({"profile": swapped_primaries()}, 0),
}


def test_jpeg_is_decoded_by_the_browser_in_the_colours_that_the_file_means(lab, screen):
    (page, _guard) = screen
    picture = tissue(900, 700)
    # Pure colours too: there a profile that is not followed shows most.
    picture[300:332, 400:528] = np.repeat(np.eye(3, dtype=np.uint8) * 255, (64, 32, 32), axis=0)
    for name, (options, _) in STORED.items():
        write_series(lab.data, f"stored-{name}", [slide_instance([picture], tile=256, **options)])
    broken = slide_instance([picture[:256, :256]], tile=256, compressed=True, encode=without_tables)
    write_series(lab.data, "stored-broken", [broken])
    names = ", ".join(f"'{name}'" for name in (*STORED, "broken"))
    load = f"""import readingroom
views = [readingroom.dataset('stored-' + name).series()[0].view(centre=(450, 350)) for name in ({names})]
heard = []
for one in views:
    one.on_msg(lambda view, content, _buffers: heard.append((view, content.get('decoded'))))"""
    open_notebook(page, lab, "stored.ipynb", load, *(f"views[{n}]" for n in range(len(STORED) + 1)))
    for number, (name, (_, most)) in enumerate(STORED.items()):
        slide = page.locator(f"{PANEL} .rr-slide").nth(number)
        slide.scroll_into_view_if_needed()
        box = slide.get_by_role("application").bounding_box()
        across, down = round(box["width"]), round(box["height"])
        in_kernel(page, f"views[{number}].field = {across}")
        slide.locator(".rr-slide-status", has_text=re.compile("^20 x")).wait_for()
        here = Slide(sorted(lab.data.glob(f"stored-{name}/*/*/*.dcm")), name)
        left, top = round(450 - across / 2), round(350 - down / 2)
        expected = Shades(here).shown(here.region(left, top, across, down), 0, 0, 0)
        assert np.abs(settled(page, slide, 0).astype(int) - expected).max() <= most, name
    # What the browser cannot decode the kernel tries, and names the object.
    slide = page.locator(f"{PANEL} .rr-slide").nth(len(STORED))
    slide.locator(".rr-slide-said", has_text=f"{broken.SOPInstanceUID}.dcm of stored-broken").wait_for()
    in_kernel(page, "assert {view for view, decoded in heard if decoded} == {views[-1]}")


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
