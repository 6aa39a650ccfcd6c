import base64
import errno
import gzip
import io
import json
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import traitlets
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pydicom.pixels import apply_windowing
from tests.support.dicom_series import ct, instance, phantom, write_series

import readingroom
from readingroom.errors import BadInput
from readingroom.planes import Stored
from readingroom.viewers import SeriesView, render, wire
from readingroom.viewers.pictures import pictures_of
from readingroom.volume import Frames


class Spy(SeriesView):
    """Keeps what it would send to the browser."""

    def send(self, content, buffers=None):
        self.sent = (content, buffers)


def asked(view, *indices, deflate=False):
    """The answer to a question for slices, and each of these: head and buffers."""
    view._answer(view, {"k": "get", "z": list(indices), "n": "a-1", "deflate": deflate}, [])
    answer, buffers = view.sent
    rest = list(buffers)
    slices = [(head, [rest.pop(0) for _ in range(head["buffers"])]) for head in answer["slices"]]
    assert rest == []
    assert answer["n"] == "a-1"
    return answer, slices


@pytest.fixture
def folder(tmp_path):
    return write_series(tmp_path, "d", list(ct(phantom(6))))


@pytest.fixture
def view(folder):
    return Spy(Frames.of_files(sorted(folder.iterdir()), "d"))


def ask(view, index, *, deflate=False):
    _, (one,) = asked(view, index, deflate=deflate)
    return one


def test_it_starts_in_the_middle_with_the_stored_window(view):
    assert (view.index, view.window, view.invert) == (3, (40.0, 400.0), False)
    assert view.describe() == "CT Phantom: slice 4 of 6, W 400 L 40"
    assert view.about["edges"] == ("R", "L", "A", "P")


@pytest.mark.parametrize("index", [0, 5])
def test_slices_travel_as_stored_with_their_line(view, index):
    head, (buffer,) = ask(view, index)
    assert (head["k"], head["z"], head["dtype"]) == ("frame", index, "uint16")
    pixels = np.frombuffer(buffer, "<u2").reshape(head["rows"], head["columns"])
    np.testing.assert_array_equal(pixels * head["slope"] + head["intercept"], phantom(6)[index])


def test_a_slow_line_gets_the_same_pixels_deflated(view):
    _, (buffer,) = ask(view, 2)
    head, (packed,) = ask(view, 2, deflate=True)
    assert head["deflated"] is True
    assert whole(head, packed).tobytes() == bytes(buffer)


def whole(head, packed):
    """What the browser makes of a deflated buffer."""
    data = np.frombuffer(zlib.decompress(packed), np.uint8)
    if not head["differences"]:
        return data
    codes = data.reshape(2, -1).astype(np.int64)
    codes = (codes[0] + 256 * codes[1]).reshape(head["rows"], head["columns"])
    steps = np.where(codes % 2, -(codes + 1) // 2, codes // 2)
    steps[:, 0] = np.cumsum(steps[:, 0])
    return np.cumsum(steps, axis=1).astype("<u2")


@given(arrays(st.sampled_from(["u1", "i2", "u2"]), st.tuples(st.integers(1, 5), st.integers(1, 5))))
def test_deflated_pixels_are_the_same_whatever_they_are(pixels):
    # Rows that repeat, so that deflating pays.
    pixels = np.tile(pixels, (40, 10))
    head, (packed,), _ = wire.packed(Stored(pixels), 0, deflate=True)
    data = whole(head, packed) if "deflated" in head else packed
    assert bytes(data) == pixels.tobytes()


def test_what_deflating_does_not_shorten_travels_as_it_is():
    noise = np.random.default_rng(1).integers(0, 2**16, (1, 64, 64), np.uint16)
    view = Spy(noise)
    head, (buffer,) = ask(view, 0, deflate=True)
    assert "deflated" not in head
    assert bytes(buffer) == noise.tobytes()


# A noisy CT of 512 x 512 x 300, int16, as the benchmark has it.
NOISY = np.random.default_rng(1).normal(0, 20, (300, 512, 512)).astype(np.int16)


def test_the_first_picture_costs_no_more_than_its_budget_of_bytes():
    view = Spy(NOISY, window=(0.0, 2048.0))
    head, buffers = ask(view, view.index, deflate=True)
    still = view._repr_mimebundle_()[0]["image/png"]
    sizes = [len(one) for one in (*buffers, json.dumps(head), still, view._esm, view._css)]
    assert sum(sizes) < 600_000, sizes
    assert len(buffers[0]) < 240_000, "26 slices a second over 50 Mbit/s"


def test_looking_at_an_array_costs_little_memory_and_cpu():
    tracemalloc.start()
    try:
        view = Spy(NOISY, window=(0.0, 2048.0))
        before = time.process_time()
        for index in range(100):
            ask(view, index)
        spent = (time.process_time() - before) / 100
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5e6, "bytes beside the array that its user holds"
    assert spent < 0.003, "seconds of CPU a slice"


def test_several_slices_come_in_one_answer_in_the_order_of_the_wishes(view):
    # A slice that cannot be read keeps none of the others away.
    view._pictures.frames.planes[3].path.unlink()
    answer, slices = asked(view, 2, 3, 1)
    assert answer["k"] == "slices"
    assert [(head["z"], head["k"]) for head, _ in slices] == [(2, "frame"), (3, "error"), (1, "frame")]
    assert "is not there" in slices[1][0]["text"]
    for head, buffers in (slices[0], slices[2]):
        pixels = np.frombuffer(buffers[0], "<u2").reshape(64, 48) * head["slope"] + head["intercept"]
        np.testing.assert_array_equal(pixels, phantom(6)[head["z"]])


def test_an_answer_holds_what_fits_and_reads_no_more(monkeypatch):
    view = Spy(NOISY, window=(0.0, 2048.0))
    read, at = [], view._at
    monkeypatch.setattr(view, "_at", lambda index: read.append(index) or at(index))
    monkeypatch.setattr("readingroom.viewers.answering._ANSWER_SECONDS", 1e9)
    answer, slices = asked(view, *range(7, 17))
    # 512 KiB each, of 2 MiB.
    assert [head["z"] for head, _ in slices] == read == [7, 8, 9, 10]
    assert answer["fits"] == 4
    # A slow line is done with one at a time, and so is a slow decoder.
    answer, slices = asked(view, 7, 8, deflate=True)
    assert (len(slices), answer["fits"]) == (1, 1)
    monkeypatch.setattr("readingroom.viewers.answering._ANSWER_SECONDS", 1e-9)
    answer, slices = asked(view, 7, 8)
    assert (len(slices), answer["fits"]) == (1, 1)


def test_an_error_of_the_viewer_takes_no_other_slice_along(view, monkeypatch):
    at = view._at

    def odd(index):
        if index == 3:
            raise RuntimeError("secret")
        return at(index)

    monkeypatch.setattr(view, "_at", odd)
    _, slices = asked(view, 2, 3, 4)
    assert [head["z"] for head, _ in slices] == [2]
    with pytest.raises(RuntimeError):
        view._answer(view, {"k": "get", "z": [3, 4], "n": "a-2"}, [])
    head, _ = view.sent
    assert (head["k"], head["n"]) == ("error", "a-2")
    assert "secret" not in head["text"]


@pytest.mark.parametrize("index", [-1, 6, 10**9])
def test_a_slice_that_is_not_there_is_refused(view, index):
    head, _ = ask(view, index)
    assert head["k"] == "error"


@pytest.mark.parametrize("message", [None, "get", [], {}, {"k": "put"}])
def test_other_messages_are_not_answered(view, message):
    view._answer(view, message, [])
    assert not hasattr(view, "sent")


def test_it_is_asked_whether_all_may_be_read_still(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("READINGROOM_DATA", str(tmp_path))
    view = Spy(Frames.of_files(sorted(folder.iterdir()), "d"))
    view._answer(view, {"k": "still", "n": "a-2"}, [])
    assert view.sent == ({"k": "still", "n": "a-2"}, None)

    volume = Spy(view._pictures.frames.volume())
    assert ask(volume, 2)[0]["k"] == "frame"

    def refused(path, *_rest):
        assert path == folder
        raise PermissionError(errno.EACCES, "withdrawn")

    monkeypatch.setattr("os.open", refused)
    for one, message in [
        (view, {"k": "still", "n": 1}),
        (volume, {"k": "still", "n": 1}),
        (volume, {"k": "get", "z": [2], "n": 1}),
    ]:
        one._answer(one, message, [])
        head, buffers = one.sent
        assert (head["k"], head["n"], head["ended"], buffers) == ("error", 1, True, None)
        assert head["text"].startswith("Access to d was withdrawn or has ended")


def test_of_an_array_without_files_nothing_is_refused():
    one = Spy(phantom(6))
    one._answer(one, {"k": "still", "n": 1}, [])
    assert one.sent == ({"k": "still", "n": 1}, None)


def test_a_read_error_is_a_sentence(view):
    for path in {p.path for p in view._pictures.frames.planes}:
        path.unlink()
    head, buffers = ask(view, 2)
    assert (head["k"], head["z"], buffers) == ("error", 2, [])
    assert "is not there" in head["text"]
    data, _ = view._repr_mimebundle_()
    assert "image/png" not in data
    assert "is not there" in data["text/plain"]


def test_access_that_ended_is_marked_so(view, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    view._answer(view, {"k": "get", "z": [2, 3], "n": "a-1"}, [])
    head, buffers = view.sent
    assert (head["k"], head["n"], head["ended"], buffers) == ("error", "a-1", True, None)
    assert "withdrawn or has ended; see /data/README.txt" in head["text"]


def test_traits_are_checked_and_observed(view):
    seen = []
    view.observe(lambda change: seen.append(change["new"]), "index")
    view.index = 99
    assert seen == [5]
    view.zoom = 1000
    assert view.zoom == 32
    for window in [(40, 0), (40, -5), (float("nan"), 5), (1,), "ab"]:
        with pytest.raises(traitlets.TraitError):
            view.window = window
    assert view.window == (40.0, 400.0)


def test_an_unknown_trait_is_named():
    with pytest.raises(BadInput, match="no colour"):
        readingroom.view(np.zeros((2, 2)), colour="red")


@pytest.mark.parametrize("array", [np.zeros((2, 2, 2, 2)), np.zeros((0, 2, 2)), np.array(["a"]), np.zeros(3)])
def test_what_is_no_picture_is_refused(array):
    with pytest.raises(BadInput, match="cannot be shown"):
        readingroom.view(array)


def test_a_spacing_must_be_one():
    with pytest.raises(BadInput, match="spacing"):
        readingroom.view(np.zeros((2, 2)), spacing=(0, 1))


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "float32", "float64", "bool"])
def test_arrays_of_every_type_reach_the_browser_with_their_values(kind):
    array = (np.arange(24).reshape(2, 3, 4) % 2 * 100).astype(kind)
    shown = Spy(array)
    head, (buffer,) = ask(shown, 1)
    values = np.frombuffer(buffer, np.dtype(head["dtype"]).newbyteorder("<")).reshape(3, 4)
    np.testing.assert_array_equal(values, array[1].astype(np.float64))


def test_big_endian_arrays_travel_little_endian():
    head, (buffer,) = ask(Spy(np.array([[[1, 256]]], ">i2")), 0)
    assert head["dtype"] == "int16"
    assert np.frombuffer(buffer, "<i2").tolist() == [1, 256]


def test_colours_pass_as_they_are():
    colours = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
    shown = Spy(colours)
    head, (buffer,) = ask(shown, 0)
    assert (head["samples"], head["dtype"]) == (3, "uint8")
    assert buffer == colours.tobytes()
    np.testing.assert_array_equal(shown.grey(), colours[0])


@pytest.mark.parametrize("window", [(40, 400), (0, 2), (-600, 1500), (10, 1), (3.5, 2.25)])
def test_windows_equal_pydicoms(window):
    values = np.arange(-1200, 1200, dtype=np.int16).reshape(40, 60)
    grey = render.grey_levels(Stored(values), window)
    one = instance(values, slope=1, intercept=0, WindowCenter=window[0], WindowWidth=window[1])
    expected = (apply_windowing(values, one) + 32768) / 65535 * 255
    assert np.abs(grey - expected).max() <= 0.5 + 1e-6


def test_linear_exact_equals_pydicoms():
    values = np.linspace(-2, 2, 4000, dtype=np.float32).reshape(40, 100)
    grey = render.grey_levels(Stored(values), (0.1, 1.5), function="LINEAR_EXACT")
    expected = np.clip((values.astype(np.float64) - 0.1) / 1.5 + 0.5, 0, 1) * 255
    assert np.abs(grey - expected).max() <= 0.5 + 1e-6


def test_nothing_breaks_on_values_that_are_no_numbers():
    values = np.array([[np.nan, np.inf, -np.inf, 0.5]], np.float32)
    shown = readingroom.view(values)
    assert shown.grey().tolist()[0][1:3] == [255, 0]
    assert shown.snapshot().startswith(b"\x89PNG")


def test_monochrome1_is_white_where_low(tmp_path):
    one = instance(np.array([[0, 4095]], np.uint16), intercept=0, PhotometricInterpretation="MONOCHROME1")
    one.WindowCenter, one.WindowWidth = 2048, 4096
    folder = write_series(tmp_path, "d", [one])
    shown = SeriesView(Frames.of_files(sorted(folder.iterdir()), "d"))
    assert shown.grey().tolist() == [[255, 0]]
    shown.invert = True
    assert shown.grey().tolist() == [[0, 255]]


def test_the_saved_page_keeps_a_picture_and_its_words(view):
    view.index = 2
    data, _ = view._repr_mimebundle_()
    assert data["text/plain"] == "CT Phantom: slice 3 of 6, W 400 L 40"
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    # 64 rows of 0.5 mm, 48 columns of 0.75 mm: wider than high.
    assert picture.size == (512, round(512 * 32 / 36) + 18)
    shown = np.asarray(picture)
    grey = view.grey()
    assert shown[100, 100] == grey[int(100.5 / 455 * 64), int(100.5 / 512 * 48)]
    assert len(base64.b64decode(data["image/png"])) < 100_000


def test_zoom_and_pan_show_in_the_picture():
    array = np.zeros((8, 8), np.uint8)
    array[0, 0] = 255
    shown = readingroom.view(array, window=(128, 256))
    assert np.asarray(Image.open(io.BytesIO(shown.snapshot())))[:512][10, 10] == 255
    shown.zoom, shown.pan = 4, (4, 4)
    # The picture's corner now lies in the middle of the view, four times as large.
    page = np.asarray(Image.open(io.BytesIO(shown.snapshot())))[:512]
    assert page[300, 300] == 255
    assert page[200, 200] == 0


def test_a_volume_can_be_shown(folder):
    volume = Frames.of_files(sorted(folder.iterdir()), "d").volume()
    shown = readingroom.view(volume)
    assert shown.describe() == "CT Phantom: slice 4 of 6, W 400 L 40"
    assert shown.about["edges"] == ("R", "L", "A", "P")


def test_jupyterlab_has_the_extension_as_it_is_built():
    # It is a copy: `make install` renews it.
    installed = Path(sys.prefix) / "share/jupyter/labextensions/readingroom"
    folder = Path(render.__file__).parent
    assert (installed / "package.json").read_bytes() == (folder / "lab.json").read_bytes()
    assert (installed / "static/lab.js").read_bytes() == (folder / "built/lab.js").read_bytes()


def test_the_widgets_stay_small_and_name_no_address():
    folder = Path(render.__file__).parent
    scripts = {path.name: path.read_text("utf-8") for path in (folder / "built").glob("*.js")}
    # Not part of a widget, see test_rendering.
    del scripts["volume.js"]
    sizes = {name: len(gzip.compress(script.encode())) for name, script in scripts.items()}
    assert sizes["series.js"] < 15_500, sizes
    assert sum(sizes.values()) < 60_000, sizes
    # A namespace's name is no address.
    styles = [path.read_text("utf-8") for path in (folder / "static").glob("*.css")]
    told = "".join([*scripts.values(), *styles]).replace("HTTP", "").replace("http://www.w3.org/2000/svg", "")
    assert "http" not in told


def test_only_what_is_in_memory_is_fetched_whole(view):
    assert view.about["held"] is False
    assert readingroom.view(np.zeros((2, 2))).about["held"] is True


class Counted:
    """Pictures that tell how often each was read."""

    def __init__(self, pictures):
        self.pictures, self.read = pictures, []
        self.about, self.place = pictures.about, pictures.place

    def stored(self, index):
        self.read.append(index)
        return self.pictures.stored(index)


def test_what_is_read_for_the_still_picture_is_sent_along_once():
    pictures = Counted(pictures_of(phantom(4)))
    view = Spy(pictures, index=2, window=(0, 2048))
    assert pictures.read == []
    data, _ = view._repr_mimebundle_()
    assert "image/png" in data
    assert pictures.read == [2]
    answer, buffers = view.sent
    assert (answer["n"], [one["z"] for one in answer["slices"]]) == ("first", [2])
    assert len(buffers) == 1
    # Another view of the same pictures asks for itself.
    del view.sent
    view._repr_mimebundle_()
    assert not hasattr(view, "sent")
    # Without a still picture nothing is read before it is asked for.
    kept = Counted(pictures_of(phantom(4)))
    without = Spy(kept, window=(0, 2048), static="none")
    without._repr_mimebundle_()
    assert kept.read == []
    assert not hasattr(without, "sent")


def test_an_array_leaves_the_kernel_without_a_copy():
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    _, (buffer,) = ask(Spy(array), 1)
    assert np.shares_memory(np.frombuffer(buffer, np.int16), array)


def test_no_picture_stays_where_none_may():
    data, _ = readingroom.view(np.zeros((2, 4, 4)), static="none")._repr_mimebundle_()
    assert "image/png" not in data
    assert data["text/plain"].startswith("array: slice 2 of 2")
    with pytest.raises(BadInput, match="static='jpeg'"):
        readingroom.view(np.zeros((2, 4, 4)), static="jpeg")


@pytest.mark.parametrize(
    ("elements", "rate"),
    [
        ({"CineRate": 25}, 25), ({"FrameTime": 40}, 25), ({"RecommendedDisplayFrameRate": 30, "CineRate": 15}, 30),
        ({"FrameTime": 0}, 10), ({}, 10), ({"CineRate": 200}, 60),
    ],
)  # fmt: skip
def test_a_cine_runs_as_its_file_wants(tmp_path, elements, rate):
    folder = write_series(tmp_path, "d", list(ct(phantom(3), **elements)))
    shown = SeriesView(Frames.of_files(sorted(folder.iterdir()), "d"))
    assert shown.rate == rate
    for wrong in (0, 61, -1, np.nan, "x"):
        with pytest.raises(traitlets.TraitError):
            shown.rate = wrong
    assert not shown.playing


def test_a_rate_that_is_no_number_harms_no_picture(tmp_path):
    one = instance(np.zeros((2, 2), np.uint16))
    one.add_new("FrameTime", "LO", "fast")
    folder = write_series(tmp_path, "d", [one])
    assert SeriesView(Frames.of_files(sorted(folder.iterdir()), "d")).rate == 10
