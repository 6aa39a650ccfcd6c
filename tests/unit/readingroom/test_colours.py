import io

import numpy as np
import pydicom.data
import pytest
import traitlets
from PIL import Image

from readingroom.viewers import view
from readingroom.viewers.colours import PALETTES, palette

FILES = dict(
    zip(
        PALETTES,
        ("hotiron", "pet", "hotmetalblue", "pet20step", "spring", "summer", "fall", "winter"),
        strict=True,
    )
)
RAMP = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)


@pytest.mark.parametrize("name", PALETTES)
def test_palettes_are_those_of_the_standards_own_objects(name):
    path = pydicom.data.get_palette_files(f"{FILES[name]}.dcm")[0]
    stored = pydicom.dcmread(path, force=True)
    assert stored.SOPInstanceUID == PALETTES[name]
    assert stored.ContentLabel.removesuffix(" LUT") == name
    if "RedPaletteColorLookupTableData" in stored:
        red = np.frombuffer(stored.RedPaletteColorLookupTableData, np.uint8)
        np.testing.assert_array_equal(palette(name)[:, 0], red)


def test_levels_pass_the_map_after_window_and_inversion():
    shown = view(RAMP, window=(128, 256), colours="hot_iron")
    assert shown.colours == "HOT_IRON"
    np.testing.assert_array_equal(shown.grey().reshape(256, 3), palette("HOT_IRON"))
    shown.invert = True
    np.testing.assert_array_equal(shown.grey().reshape(256, 3), palette("HOT_IRON")[::-1])
    assert "colours HOT_IRON" in shown.describe()
    with Image.open(io.BytesIO(shown.snapshot())) as still:
        assert still.mode == "RGB"
    shown.colours = ""
    assert shown.grey().ndim == 2
    assert shown.palette == []


def test_colour_pictures_stay_as_they_are():
    picture = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    np.testing.assert_array_equal(view(picture, colours="PET").grey(), picture[0])


def test_an_unknown_map_names_those_there_are():
    shown = view(RAMP)
    with pytest.raises(traitlets.TraitError, match="HOT_IRON, PET"):
        shown.colours = "JET"
