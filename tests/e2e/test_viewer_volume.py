"""Volume rendering in JupyterLab and Chromium: what is drawn lies where it lies in the patient."""

import io

import numpy as np
import pytest
from PIL import Image
from tests.support.dicom_series import AXIAL, ct, instance, write_series
from tests.support.lab import WEBGL, chromium_page
from tests.support.viewer import in_kernel, open_notebook, serious, themes, until_in_kernel

pytestmark = pytest.mark.browser

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
SHAPE = (40, 56, 48)
SPACING = (2.0, 1.0, 1.5)
"""Between slices, rows, columns, in mm."""
FIRST = np.array([-30.0, 12.0, 250.0])


def affine(orientation):
    right, down = np.array(orientation[:3]), np.array(orientation[3:])
    made = np.eye(4)
    made[:3, :3] = np.stack([np.cross(right, down), down, right], axis=1) * SPACING
    made[:3, 3] = FIRST
    return made


def sphere(orientation):
    """A volume of air with a ball of bone towards the patient's left, front and head, and the ball's place from the
    volume's centre in mm."""
    grid = affine(orientation)
    places = np.moveaxis(np.indices(SHAPE), 0, -1) @ grid[:3, :3].T + grid[:3, 3]
    centre = grid[:3, :3] @ ((np.array(SHAPE) - 1) / 2) + grid[:3, 3]
    offset = np.array([14.0, -10.0, 18.0])
    array = np.full(SHAPE, -1000, np.int16)
    array[np.linalg.norm(places - centre - offset, axis=-1) < 8] = 1200
    return array, offset


def images(orientation):
    array, _ = sphere(orientation)
    grid = affine(orientation)
    for k, slab in enumerate(array):
        yield instance(
            (slab + 1024).astype(np.uint16),
            position=(grid @ [k, 0, 0, 1])[:3],
            orientation=orientation,
            spacing=SPACING[1:],
            number=k + 1,
            description="Ball",
        )


def middle(grey):
    """Where the bright part of a square picture lies: right and up of its centre, in shares of half its edge. Letters
    stand near the edges."""
    size = len(grey)
    kept = np.array(grey, float)
    kept[: size // 10] = kept[-size // 10 :] = 0
    kept[:, : size // 10] = kept[:, -size // 10 :] = 0
    rows, columns = np.nonzero(kept > kept.max() / 2)
    return (columns.mean() + 0.5) / size * 2 - 1, 1 - (rows.mean() + 0.5) / size * 2


def chest():
    """(slices, rows, columns) of HU: skin, muscle, two lungs with vessels, spine, ribs and breastbone."""
    z, y, x = (v.astype(float) for v in np.ogrid[-1:1:64j, -1:1:72j, -1:1:96j])
    array = np.full((64, 72, 96), -1000.0)

    def put(where, value):
        array[np.broadcast_to(where, array.shape)] = value

    across = (x / 0.92) ** 2 + (y / 0.86) ** 2
    put(across < 1, -60)
    put(across < 0.86, 50)
    for side in (-1, 1):
        lung = ((x - side * 0.42) / 0.32) ** 2 + (y / 0.55) ** 2 + (z / 1.1) ** 2
        put(lung < 1, -850)
        put((lung < 1) & ((y - 0.3 * (x - side * 0.42)) ** 2 + (z - 0.4 * np.abs(x)) ** 2 < 0.002), 30)
    put((x / 0.16) ** 2 + ((y - 0.55) / 0.16) ** 2 < 1, 500)
    put((np.abs(x) < 0.1) & (np.abs(y + 0.72) < 0.05) & (z > -0.4), 450)
    ribs = np.abs((z + 0.35 * y) % 0.34 - 0.17) < 0.06
    put((across > 0.7) & (across < 0.82) & ribs & ((y > -0.7) | (np.abs(x) > 0.1)), 700)
    return array.astype(np.int16)


def taken(root):
    """What is drawn when it has come to rest, in grey."""
    root.locator(".rr-stage[data-drawn]").wait_for()
    return np.asarray(Image.open(io.BytesIO(root.locator(".rr-stage").screenshot())).convert("L"))


def test_a_volume_is_drawn_where_it_lies_in_the_patient(lab, pictures):
    for name, orientation in (("axial", AXIAL), ("sagittal", SAGITTAL)):
        write_series(lab.data, name, list(images(orientation)))
    write_series(lab.data, "chest", list(ct(chest(), step=4.0, spacing=(3.5, 3.5), description="Chest")))
    # A processor draws here: no more pixels than the documentation needs.
    wide = 480 if pictures.name == "pictures" else 180
    with chromium_page(*WEBGL) as (page, guard):
        scripts = []
        page.on("request", lambda request: scripts.append(request.url) if "volume.js" in request.url else None)
        open_notebook(
            page,
            lab,
            "volume.ipynb",
            "import readingroom as rr\ndef series(name): return rr.dataset(name).series()[0]",
            "turned = {'azimuth': 30, 'elevation': 15, 'zoom': 1.3}\n"
            f"chest = series('chest').render(**turned, static='none', layout={{'width': '{wide}px'}})\nchest",
            "axial = series('axial').render(static='none', layout={'width': '180px'})\naxial",
            "series('sagittal').render(static='none', layout={'width': '180px'})",
        )
        whole, *balls = (page.locator(".rr-volume").nth(n) for n in range(3))
        for ball, orientation, keys in zip(balls, (AXIAL, SAGITTAL), ("al", "af"), strict=True):
            left, back, head = sphere(orientation)[1] / (np.linalg.norm(np.array(SHAPE) * SPACING) / 2)
            ball.scroll_into_view_if_needed()
            sides = {
                "a": ("front", "RLHF", (left, head)),
                "l": ("left", "APHF", (back, head)),
                "f": ("feet", "RLAP", (left, -back)),
            }
            for key in keys:
                side, edges, wanted = sides[key]
                ball.locator(".rr-stage").focus()
                page.keyboard.press(key)
                ball.locator(".rr-status", has_text=f"seen from {side},").wait_for()
                np.testing.assert_allclose(middle(taken(ball)), wanted, atol=0.02)
                assert ball.locator(".rr-edge").all_inner_texts() == list(edges)

        # By keyboard alone: turned, nearer, another preset; and what the kernel sets is shown.
        ball = balls[0]
        ball.scroll_into_view_if_needed()
        for key in ("0", "ArrowRight", "ArrowRight", "Shift+ArrowDown", "+", "5"):
            ball.locator(".rr-stage").press(key)
        until_in_kernel(page, "(axial.azimuth, axial.elevation, axial.zoom, axial.preset) == (-10, 45, 1.25, 'MIP')")
        taken(ball)
        assert ball.get_by_role("combobox", name="Preset").input_value() == "MIP"
        in_kernel(page, "axial.azimuth, axial.elevation, axial.zoom = 90, 0, 1")
        ball.locator(".rr-status", has_text="seen from left").wait_for()
        ball.get_by_role("combobox", name="Seen from").select_option("r")
        ball.locator(".rr-status", has_text="seen from right").wait_for()
        taken(ball)
        until_in_kernel(page, "axial.azimuth == -90")

        whole.scroll_into_view_if_needed()
        whole.locator(".rr-status", has_text="azimuth 30°, elevation 15°").wait_for()
        taken(whole)
        themes(page, whole, pictures, "rendering")
        assert serious(page, whole, 5) == {}

        # The script came once, when it was needed, from the server itself.
        assert len(scripts) == 1
        assert guard.outside == []

        # The files may no longer be read: no picture and no voxel stays, and a sentence says why.
        (folder,) = (lab.data / "chest").glob("*/*")
        folder.rename(folder.with_name("hidden"))
        whole.locator(".rr-error", has_text="Run the cell again").wait_for(timeout=30_000)
        assert whole.locator("canvas").count() == 0
        assert ball.locator("canvas").count() == 1
