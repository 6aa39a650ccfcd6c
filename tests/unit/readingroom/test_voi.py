"""Grey values by PS3.3 C.11.1 and C.11.2, against pydicom's own and numbers worked by hand."""

import numpy as np
import pydicom
import pytest
import traitlets
from pydicom.pixels import apply_modality_lut, apply_voi
from tests.support.dicom_series import instance, write_series

from readingroom.errors import Damaged
from readingroom.planes import Stored
from readingroom.viewers import SeriesView
from readingroom.viewers.render import grey_levels
from readingroom.volume import Frames


def lut(first, entries, bits=12, name="SCREEN", vr="US"):
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", vr, [len(entries) % 65536, first, bits])
    item.add_new("LUTData", "OW", np.asarray(entries, "<u2").tobytes())
    item.LUTExplanation = name
    return item


def shown(tmp_path, one, **traits):
    folder = write_series(tmp_path, "d", [one])
    return SeriesView(Frames.of_files(sorted(folder.iterdir()), "d"), **traits)


def without_window(pixels, **elements):
    one = instance(pixels, **elements)
    del one.WindowCenter, one.WindowWidth
    return one


def test_sigmoid_is_the_standards():
    # C.11.2.1.3.1 at the centre, and a quarter and a whole width beside it: 255 / (1 + exp(-4 (x - c) / w)).
    values = np.array([[-300, 0, 100, 200, 500]], np.int16)
    grey = grey_levels(Stored(values), (100, 400), function="SIGMOID")
    assert grey.tolist() == [
        [round(255 / (1 + np.exp(4))), round(255 / (1 + np.e)), 128, round(255 / (1 + 1 / np.e)), 250]
    ]
    assert grey_levels(Stored(np.array([[-3.0e4]])), (100, 4), function="SIGMOID").tolist() == [[0]]


def test_sigmoid_and_narrow_windows_come_from_the_header(tmp_path):
    values = np.arange(256, dtype=np.uint16).reshape(16, 16)
    view = shown(tmp_path, instance(values, intercept=0, WindowCenter=128, WindowWidth=64, VOILUTFunction="SIGMOID"))
    one = instance(values, intercept=0, WindowCenter=128, WindowWidth=64, VOILUTFunction="SIGMOID")
    one.BitsStored, one.HighBit = 8, 7
    expected = apply_voi(values, one) if "VOILUTSequence" in one else pydicom.pixels.apply_windowing(values, one)
    np.testing.assert_array_equal(view.grey(), np.floor(expected + 0.5))
    narrow = instance(
        values, intercept=0, slope=0.001, WindowCenter=0.1, WindowWidth=0.2, VOILUTFunction="LINEAR_EXACT"
    )
    view = shown(tmp_path / "b", narrow)
    assert view.window == (0.1, 0.2)
    assert view.grey().ravel()[[0, 50, 100, 150, 200, 255]].tolist() == [0, 64, 128, 191, 255, 255]
    view.window = (0.1, 0.5)


def test_a_voi_lut_is_shown_where_there_is_no_window(tmp_path):
    values = np.arange(0, 4096, dtype=np.uint16).reshape(64, 64)
    entries = (np.linspace(0, 1, 1000) ** 2 * 4095).astype(np.uint16)
    one = without_window(values, intercept=0, VOILUTSequence=[lut(500, entries), lut(0, [0, 4095], name="STEP")])
    view = shown(tmp_path, one)
    assert view.lut == 0
    assert view.describe() == "CT Phantom: slice 1 of 1, SCREEN"
    expected = apply_voi(values, one, 0) / 4095 * 255
    np.testing.assert_array_equal(view.grey(), np.floor(expected + 0.5))
    view.lut = 1
    assert view.grey().ravel()[:3].tolist() == [0, 255, 255]
    # Whoever sets a window sees it.
    view.window = (2048, 4096)
    assert view.lut is None
    assert view.grey().ravel()[-1] == 255
    for wrong in (2, -1, "x", 0.5):
        with pytest.raises(traitlets.TraitError):
            view.lut = wrong


def test_a_window_that_is_stored_comes_first(tmp_path):
    one = instance(np.zeros((2, 2), np.uint16), VOILUTSequence=[lut(0, [0, 4095])])
    assert shown(tmp_path, one).lut is None


def test_all_windows_of_a_file_are_presets_by_their_names(tmp_path):
    one = instance(
        np.zeros((2, 2), np.uint16), modality="MR", WindowCenter=[40, -600, 7], WindowWidth=[400, 1500, 0.5],
        WindowCenterWidthExplanation=["SOFT", "LUNG", "NONE"],
    )  # fmt: skip
    view = shown(tmp_path, one)
    # LINEAR has no window narrower than 1.
    assert view.about["presets"] == [["SOFT", 40, 400], ["LUNG", -600, 1500]]
    assert view.window == (40, 400)
    plain = shown(tmp_path / "b", instance(np.zeros((2, 2), np.uint16), modality="MR", WindowWidth=""))
    assert [name for name, *_ in plain.about["presets"]] == ["Full"]


def test_a_first_value_below_zero_is_read_as_such(tmp_path):
    # 64512 is -1024 in 16 bits, in the VR that the stored type asks for.
    values = np.array([[0, 1, 2, 3]], np.uint16)
    one = without_window(values, VOILUTSequence=[lut(64512, [0, 85, 170, 255], bits=8)], intercept=-1024)
    assert shown(tmp_path, one).grey().tolist() == [[0, 85, 170, 255]]


def test_a_voi_lut_that_does_not_fit_its_descriptor_is_an_error(tmp_path):
    item = lut(0, [0, 1, 2])
    item.LUTDescriptor = [300, 0, 12]
    with pytest.raises(Damaged, match="could not be decoded"):
        shown(tmp_path, instance(np.zeros((2, 2), np.uint16), VOILUTSequence=[item]))


def test_a_modality_lut_then_a_voi_lut(tmp_path):
    values = np.arange(256, dtype=np.uint16).reshape(16, 16)
    modality = lut(0, np.arange(256)[::-1] * 16, bits=16)
    modality.ModalityLUTType = "OD"
    one = without_window(values, ModalityLUTSequence=[modality], VOILUTSequence=[lut(0, np.arange(4096))])
    del one.RescaleSlope, one.RescaleIntercept
    view = shown(tmp_path, one)
    np.testing.assert_array_equal(view._pictures.frames[0], apply_modality_lut(values, one))
    expected = apply_voi(apply_modality_lut(values, one), one) / 4095 * 255
    np.testing.assert_array_equal(view.grey(), np.floor(expected + 0.5))


@pytest.mark.parametrize(
    ("photometric", "shape", "white"),
    [
        ("MONOCHROME2", None, 255), ("MONOCHROME1", None, 0), ("MONOCHROME2", "IDENTITY", 255),
        ("MONOCHROME1", "INVERSE", 0), ("MONOCHROME2", "INVERSE", 0),
    ],
)  # fmt: skip
def test_polarity_is_turned_once(tmp_path, photometric, shape, white):
    more = {"PresentationLUTShape": shape} if shape else {}
    values = np.array([[4095]], np.uint16)
    one = instance(
        values, intercept=0, WindowCenter=2048, WindowWidth=4096, PhotometricInterpretation=photometric, **more
    )
    assert shown(tmp_path, one).grey().tolist() == [[white]]


def test_units_are_known(tmp_path):
    values = np.zeros((2, 2), np.uint16)
    for n, (modality, more, unit) in enumerate(
        [("CT", {}, "HU"), ("CT", {"RescaleType": "US"}, "US"), ("MR", {"RescaleType": "US"}, ""), ("MR", {}, "")]
    ):
        folder = write_series(tmp_path / str(n), "d", [instance(values, modality=modality, **more)])
        assert Frames.of_files(sorted(folder.iterdir()), "d").volume().unit == unit
