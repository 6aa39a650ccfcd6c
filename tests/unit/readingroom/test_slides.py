"""Slides: tiles and regions against highdicom's reading; what is wrong with an object is named."""

import io
import os
import zlib
from pathlib import Path

import highdicom
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.support.dicom_series import write_index, write_series
from tests.support.slide_spy import Spy, asked
from tests.support.slides import BASE_SPACING, place_coded, pyramid, slide_instance, tiles_of

from readingroom import dataset
from readingroom.errors import AccessEnded, BadInput, Damaged
from readingroom.slides import Slide
from readingroom.viewers.slide import SlideView

KINDS = {
    "native": {},
    "jpeg": {"compressed": True},
    "jpeg-extended": {"compressed": True, "extended": True},
    "sparse": {"organisation": "TILED_SPARSE", "missing": ((1, 0), (2, 2))},
    "sparse-jpeg": {"organisation": "TILED_SPARSE", "missing": ((0, 1),), "compressed": True},
}


def slide(tmp_path, instances, name="s"):
    return Slide(sorted(write_series(tmp_path, name, instances).glob("*.dcm")), name)


@pytest.mark.parametrize("kind", KINDS)
def test_levels_are_what_another_library_reads(tmp_path, kind):
    made, pictures = pyramid(**KINDS[kind])
    found = slide(tmp_path, made)
    assert [(level.width, level.height) for level in found.levels] == [(300, 200), (150, 100), (75, 50)]
    assert [level.downsample for level in found.levels] == [1, 2, 4]
    assert found.levels[1].spacing == pytest.approx((2 * BASE_SPACING,) * 2)
    for number, (instance, picture) in enumerate(zip(made, pictures, strict=True)):
        whole = found.region(0, 0, picture.shape[1], picture.shape[0], number)
        assert whole.dtype == np.uint8
        other = highdicom.imread(next(tmp_path.glob(f"s/*/*/{instance.SOPInstanceUID}.dcm")))
        for (column, row), part in tiles_of(picture, 64):
            top, left = row * 64, column * 64
            bottom, right = min(top + 64, picture.shape[0]), min(left + 64, picture.shape[1])
            shown = whole[top:bottom, left:right]
            if (column, row) in KINDS[kind].get("missing", ()):
                assert (shown == 255).all()
                continue
            read = other.get_total_pixel_matrix(
                top + 1, bottom + 1, left + 1, right + 1, dtype=np.uint8, apply_icc_profile=False
            )
            # YCbCr is rounded to RGB by libjpeg here, by pydicom there.
            assert np.abs(shown.astype(int) - read).max() <= (1 if "compressed" in KINDS[kind] else 0)
            if "compressed" not in KINDS[kind]:
                np.testing.assert_array_equal(shown, part[: bottom - top, : right - left])


@given(st.integers(0, 299), st.integers(0, 199), st.integers(1, 300), st.integers(1, 200))
def test_a_region_is_that_part_of_the_whole(tmp_path_factory, x, y, width, height):
    found, picture = test_a_region_is_that_part_of_the_whole.made
    width, height = min(width, 300 - x), min(height, 200 - y)
    np.testing.assert_array_equal(found.region(x, y, width, height), picture[y : y + height, x : x + width])


@pytest.fixture(scope="module", autouse=True)
def _one_slide(tmp_path_factory):
    made, pictures = pyramid()
    test_a_region_is_that_part_of_the_whole.made = (slide(tmp_path_factory.mktemp("one"), made), pictures[0])


def test_focal_planes_and_optical_paths_are_told_apart(tmp_path):
    planes = [np.full((100, 130), 1000 * n + 7, np.uint16) for n in range(6)]
    made = slide_instance(planes, paths=("1", "2"))
    sparse = slide_instance(planes, paths=("1", "2"), organisation="TILED_SPARSE")
    for name, one in (("full", made), ("sparse", sparse)):
        found = slide(tmp_path, [one], name)
        assert found.names == ("1 dye", "2 dye")
        assert len(found.planes) == 3
        for path in range(2):
            for plane in range(3):
                assert (found.region(0, 0, 130, 100, 0, path, plane) == 1000 * (3 * path + plane) + 7).all()


def test_each_path_may_have_a_file_of_its_own(tmp_path):
    pictures = {name: np.full((100, 130), value, np.uint8) for name, value in (("a", 10), ("b", 20))}
    found = slide(tmp_path, [slide_instance([picture], paths=(name,)) for name, picture in pictures.items()])
    assert sorted(found.paths) == ["a", "b"]
    for number, name in enumerate(found.paths):
        assert (found.tile(0, 1, 1, number) == pictures[name][0, 0]).all()
    assert found.tile(0, 2, 1).shape == (36, 2)


def test_labels_and_overviews_are_left_out(tmp_path):
    made, _ = pyramid()
    others = [slide_instance([place_coded(64, 64, 3)], flavour=name) for name in ("LABEL", "OVERVIEW", "THUMBNAIL")]
    found = slide(tmp_path, [*made, *others])
    assert len(found.levels) == 3
    assert found.left_out == 3
    with pytest.raises(BadInput, match="holds no slide, only 3 label"):
        slide(tmp_path, others, "others")


def test_no_file_stays_open_and_each_look_reads_little(tmp_path):
    made = slide_instance([place_coded(2048, 2048, 0)], compressed=True, extended=True)
    found = slide(tmp_path, [made])
    before = set(Path("/proc/self/fd").iterdir())
    read = bytes_read()
    found.tile(0, 5, 5)
    assert bytes_read() - read < 100_000 < len(made.PixelData)
    assert set(Path("/proc/self/fd").iterdir()) == before


def bytes_read():
    with Path("/proc/self/io").open() as file:
        return int(next(file).split()[1])


def test_access_that_ended_is_told_at_the_next_tile(tmp_path, monkeypatch):
    made, _ = pyramid()
    found = slide(tmp_path, made)
    found.tile(0, 0, 0)

    def refused(path, *_rest, **_named):
        raise PermissionError(13, "withdrawn", str(path))

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(AccessEnded, match="Access to s was withdrawn"):
        found.tile(0, 4, 3)


WRONG = {
    "TotalPixelMatrixColumns is 0": {"TotalPixelMatrixColumns": 0},
    "it has 20 frames of 64 x 64, but its Total Pixel Matrix of 3000 x 200 needs 188": {
        "TotalPixelMatrixColumns": 3000
    },
    "more than 64 MiB": {"Rows": 60000, "Columns": 60000},
    "more than 16,000,000 tiles": {"TotalPixelMatrixColumns": 2_000_000_000, "TotalPixelMatrixRows": 2_000_000_000},
    "could not be decoded": {"BitsStored": 16, "BitsAllocated": 16},
    "it is no whole slide image": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"},
}


@pytest.mark.parametrize("said", WRONG)
def test_what_an_object_claims_is_held_to_what_it_holds(tmp_path, said):
    made = slide_instance([place_coded(300, 200, 0)], **WRONG[said])
    with pytest.raises(Damaged, match=rf"^{made.SOPInstanceUID}\.dcm of s .*{said}"):
        slide(tmp_path, [made])


def test_a_spacing_of_nothing_is_named(tmp_path):
    for spacing in (0, -1):
        with pytest.raises(Damaged, match="no Pixel Spacing, or one that is not more than 0"):
            slide(tmp_path, [slide_instance([place_coded(300, 200, 0)], spacing=spacing)], f"s{spacing}")
    lies = slide_instance([place_coded(150, 100, 1)], spacing=BASE_SPACING)
    with pytest.raises(Damaged, match=rf"{lies.SOPInstanceUID}.* a pixel is 2 of the finest level's wide.* Spacing 1"):
        slide(tmp_path, [slide_instance([place_coded(300, 200, 0)]), lies], "lies")


def test_the_same_level_twice_is_named(tmp_path):
    twice = [slide_instance([place_coded(300, 200, 0)]) for _ in range(2)]
    with pytest.raises(Damaged, match=r"holds what .* holds, too"):
        slide(tmp_path, twice)


@pytest.mark.parametrize("kind", ["native", "jpeg", "sparse"])
def test_a_file_that_is_cut_short_is_named(tmp_path, kind):
    made = slide_instance([place_coded(300, 200, 0)], **KINDS[kind])
    folder = write_series(tmp_path, "s", [made])
    (path,) = folder.glob("*.dcm")
    for size in (path.stat().st_size - 3000, 700):
        os.truncate(path, size)
        with pytest.raises(Damaged, match=rf"{path.name} of s"):
            Slide([path], "s").tile(0, 4, 3)


def test_a_tile_that_is_larger_than_it_may_be_is_not_decoded(tmp_path):
    made = slide_instance([place_coded(100, 100, 0)], compressed=True, tile=128)
    made.Rows = made.Columns = 100
    with pytest.raises(Damaged, match="a tile of it is 128 x 128 pixels, its header says 100 x 100"):
        slide(tmp_path, [made]).tile(0, 0, 0)


def test_sparse_places_outside_the_slide_are_named(tmp_path):
    made = slide_instance([place_coded(300, 200, 0)], organisation="TILED_SPARSE")
    made.PerFrameFunctionalGroupsSequence[0].PlanePositionSlideSequence[0].ColumnPositionInTotalImagePixelMatrix = 10**6
    with pytest.raises(Damaged, match=rf"{made.SOPInstanceUID}\.dcm of s could not be decoded"):
        slide(tmp_path, [made])


def test_what_is_asked_for_wrongly_is_told(tmp_path):
    made, _ = pyramid()
    found = slide(tmp_path, made)
    for ask, said in (
        (lambda: found.region(0, 0, 301, 1), "reaches over level 0, which is 300 x 200"),
        (lambda: found.region(-1, 0, 5, 5), "reaches over"),
        (lambda: found.region(0, 0, 1, 1, 3), "There is no level 3: this slide has 3, counted from 0"),
        (lambda: found.tile(0, 5, 0), "Level 0 has no tile 5, 0: it has 5 x 4"),
        (lambda: found.tile(0, 0, 0, 1), "There is no optical path 1"),
    ):
        with pytest.raises(BadInput, match=said):
            ask()


def test_a_concatenation_is_one_level(tmp_path):
    whole = slide_instance([place_coded(128, 128, 0)])
    parts = []
    for number in range(2):
        part = slide_instance([place_coded(128, 128, 0)])
        part.ConcatenationUID = part.SOPInstanceUIDOfConcatenationSource = whole.SOPInstanceUID
        part.InConcatenationNumber, part.InConcatenationTotalNumber = number + 1, 2
        part.ConcatenationFrameOffsetNumber, part.NumberOfFrames = 2 * number, 2
        half = len(part.PixelData) // 2
        part.PixelData = part.PixelData[number * half : (number + 1) * half]
        parts.append(part)
    found = slide(tmp_path, parts[::-1])
    np.testing.assert_array_equal(found.region(0, 0, 128, 128), place_coded(128, 128, 0))
    with pytest.raises(Damaged, match="it has 2 frames of 64 x 64, but"):
        slide(tmp_path, parts[:1], "half")


def test_the_browser_gets_tiles_and_refusals(tmp_path):
    made, pictures = pyramid()
    folder = write_series(tmp_path, "s", made)
    view = Spy(sorted(folder.glob("*.dcm")), "s")
    for deflate in (False, True):
        head, (data,) = asked(view, k="tile", level=0, x=4, y=3, path=0, plane=0, deflate=deflate)
        assert (head["rows"], head["columns"], head["samples"]) == (8, 44, 3)
        data = zlib.decompress(data) if head.get("deflated") else bytes(data)
        assert data == pictures[0][192:, 256:].tobytes()
    assert asked(view, k="still")[0]["k"] == "still"
    for wrong in ({"x": 5}, {"level": 3}, {"path": -1}, {"plane": "0"}, {"y": None}):
        head, _ = asked(view, **{"k": "tile", "level": 0, "x": 0, "y": 0, "path": 0, "plane": 0, **wrong})
        assert (head["k"], head["ended"]) == ("error", False)
    folder.rename(folder.with_name("gone"))
    assert asked(view, k="tile", level=0, x=0, y=0, path=0, plane=0)[0]["ended"] is True


def test_a_saved_page_keeps_the_field_or_nothing(tmp_path):
    made, pictures = pyramid(1024, 768, (1, 4))
    write_series(tmp_path, "s", made)
    series = dataset("s", tmp_path).series()[0]
    view = series.view(field=640, centre=(400, 300))
    still = np.array(Image.open(io.BytesIO(view.snapshot())))
    np.testing.assert_array_equal(still[100:400, 10:490], pictures[0][160:460, 90:570])
    kept = view._repr_mimebundle_()[0]
    assert kept["text/plain"] == "SM H and E: 20 x, 320 µm by 240 µm at 0.20, 0.15 mm of 0.512 by 0.384 mm"
    assert "image/png" in kept
    assert "image/png" not in series.view(static="none")._repr_mimebundle_()[0]
    view.centre, view.field = (9e9, -5), 1e-9
    assert (view.centre, view.field) == ((1024, 0), 40)
    with pytest.raises(BadInput, match="has no zoom"):
        series.view(zoom=1)


def test_a_slide_without_a_small_level_starts_closer(tmp_path):
    made = slide_instance([np.zeros((2100, 2100), np.uint8)], tile=32)
    write_series(tmp_path, "s", [made])
    view = dataset("s", tmp_path).series()[0].view()
    assert view.field < 800
    assert view.about["notes"] == ["This slide has no level small enough to show all of it at once."]
    view.field = 3000
    with pytest.raises(BadInput, match="set a smaller field"):
        view.snapshot()


def test_the_grid_shows_the_slide_and_never_its_label(tmp_path):
    made, _ = pyramid(draw=lambda width, height, _step: np.full((height, width, 3), 200, np.uint8))
    labels = [slide_instance([np.zeros((64, 64, 3), np.uint8)], flavour=f, number=2) for f in ("LABEL", "OVERVIEW")]
    write_series(tmp_path, "s", [*made, *labels])
    write_index(tmp_path, "s")
    browser = dataset("s", tmp_path).browse(static="none")
    thumbnail = browser.grid.thumbnail(0)
    assert thumbnail.shape == (64, 96, 3)
    assert (thumbnail == 200).all()
    browser.show(0)
    assert isinstance(browser.opened, SlideView)
