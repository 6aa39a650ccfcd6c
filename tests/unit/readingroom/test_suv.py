import numpy as np
import pydicom
import pytest
from tests.support.dicom_series import instance, write_series

import readingroom
from readingroom.data import Series
from readingroom.errors import BadInput
from readingroom.suv import factor


def pet(**changes):
    """75 kg, 1.85 m, a man; 100 Bq, half life 10 s, given when the scan begins: as in calculate-suv's tests."""
    drug = pydicom.Dataset()
    drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = 100, 10
    drug.RadiopharmaceuticalStartDateTime = "20201023095417"
    found = pydicom.Dataset()
    found.Modality, found.Units, found.CorrectedImage, found.DecayCorrection = "PT", "BQML", ["ATTN", "DECY"], "START"
    found.PatientWeight, found.PatientSize, found.PatientSex = 75, 1.85, "M"
    found.SeriesDate = found.AcquisitionDate = "20201023"
    found.SeriesTime = found.AcquisitionTime = "095417"
    for keyword, value in changes.items():
        setattr(drug if "Radio" in keyword else found, keyword, value)
    found.RadiopharmaceuticalInformationSequence = [drug]
    return found


@pytest.mark.parametrize(
    ("kind", "sex", "expected"),
    [
        # Published with cornerstonejs/calculate-suv for this very patient.
        ("bw", "M", 750),
        ("bsa", "M", 198.13758427117767),
        ("lbmjanma", "M", 609.1533588651974),
        # By hand: James 1.10 * 75 - 128 * (75/185)^2 = 61.4631; 1.07 * 75 - 148 * (75/185)^2 = 55.9257.
        ("lbm", "M", 614.6311),
        ("lbm", "F", 559.2568),
        # 9270 * 75 / (8780 + 244 * 21.91381) = 49.2144; 48 + 1.06 * 33 = 82.98; 45.5 + 0.91 * 33 = 75.53.
        ("lbmjanma", "F", 492.1438),
        ("ibw", "M", 829.8),
        ("ibw", "F", 755.3),
    ],
)
def test_factors_are_the_published_ones(kind, sex, expected):
    assert factor([pet(PatientSex=sex)], kind) == pytest.approx(expected, rel=2e-5)


def test_the_dose_decays_until_the_scan_begins():
    # Three half lives: an eighth of the dose is left.
    assert factor([pet(RadiopharmaceuticalStartDateTime="20201023095347")], "bw") == pytest.approx(6000)
    # Corrected to the time of administration: nothing has decayed.
    given = pet(RadiopharmaceuticalStartDateTime="20201023095347", DecayCorrection="ADMIN")
    assert factor([given], "bw") == pytest.approx(750)
    # Time alone, and midnight between: 10 s, one half life.
    late = pet(RadiopharmaceuticalStartDateTime="", RadiopharmaceuticalStartTime="235955")
    late.SeriesTime = late.AcquisitionTime = "000005"
    assert factor([late], "bw") == pytest.approx(1500)


def test_a_series_made_later_counts_from_its_acquisition():
    # The mean of the count rate of a frame lies where ln(x / (1 - exp(-x))) says; here a frame of one half life.
    late = pet(SeriesTime="120000", FrameReferenceTime=4712.3, ActualFrameDuration=10_000)
    mean = 10 / np.log(2) * np.log(np.log(2) / 0.5)
    assert mean == pytest.approx(4.7123, abs=1e-4)
    assert factor([late], "bw") == pytest.approx(750, rel=1e-4)
    # Two beds: the earliest counts, without a reference time.
    beds = [pet(SeriesTime="120000", AcquisitionTime=t) for t in ("095437", "095427")]
    assert factor(beds, "bw") == pytest.approx(1500)


def test_pixels_that_are_uptake_already():
    assert factor([pet(Units="GML")], "bw") == 1
    assert factor([pet(Units="GML", SUVType="LBMJANMA")], "bw") == pytest.approx(750 / 609.15336, rel=1e-5)
    # SUV Type LBM has 120 where LBMJAMES128 has 128: 82.5 - 120 * (75/185)^2 = 62.7776.
    assert factor([pet(Units="GML", SUVType="LBM")], "bw") == pytest.approx(75 / 62.77757, rel=1e-5)
    philips = pet(Units="CNTS")
    block = philips.private_block(0x7053, "Philips PET Private Group", create=True)
    block.add_new(0x00, "DS", "0.000551")
    assert factor([philips], "bw") == pytest.approx(0.000551)
    del philips[0x70531000]
    block.add_new(0x09, "DS", "1.602563")
    assert factor([philips], "bw") == pytest.approx(750 * 1.602563)


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"PatientWeight": None}, "bw", r"Patient's Weight \(0010,1030\) is missing or 0.*data steward"),
        (
            {"PatientSize": 0, "PatientSex": ""},
            "lbm",
            r"Size \(0010,1020\) and Patient's Sex \(0010,0040\) are missing",
        ),
        ({"PatientSex": "O"}, "lbm", "formula for M and F"),
        ({"RadionuclideTotalDose": None, "SeriesTime": ""}, "bw", r"Total Dose .0018,1074. and Series Time"),
        ({"RadiopharmaceuticalStartDateTime": ""}, "bw", r"Start Time \(0018,1072\)"),
        ({"RadiopharmaceuticalStartDateTime": "20201023095418"}, "bw", "after the scan began"),
        ({"CorrectedImage": ["ATTN"]}, "bw", "not ATTN and DECY"),
        ({"DecayCorrection": "NONE"}, "bw", "START or ADMIN: it is NONE"),
        ({"Units": "PROPCNTS"}, "bw", "Units .0054,1001. is PROPCNTS"),
        ({"Units": "CNTS"}, "bw", "no factor"),
        ({"Modality": "CT"}, "bw", "this series is CT"),
        ({}, "weight", "there are bw, lbm"),
    ],
)
def test_what_is_missing_is_said(changes, kind, said):
    with pytest.raises(BadInput, match=said):
        factor([pet(**changes)], kind)


def test_a_series_becomes_a_volume_of_uptake(tmp_path):
    header = pet()
    more = {e.keyword: e.value for e in header if e.keyword not in {"Modality", "CorrectedImage"}}
    arrays = [np.full((4, 4), 10 * (k + 1), np.uint16) for k in range(3)]
    # PET's slope is one of each slice.
    made = [
        instance(a, position=(0, 0, 3.0 * k), number=k, modality="PT", slope=0.5 * (k + 1), intercept=0, **more)
        for k, a in enumerate(arrays)
    ]
    for one in made:
        one.CorrectedImage = ["DECY", "ATTN", "SCAT"]
    series = Series(write_series(tmp_path, "d", made), "d")
    found = series.suv("bw")
    assert found.unit == "g/ml{SUVbw}"
    assert found.array[:, 0, 0].tolist() == [5 * 750, 20 * 750, 45 * 750]
    assert series.frames().unit == "BQML"
    assert readingroom.view(found).describe().startswith("PT Phantom SUV bw: ")
