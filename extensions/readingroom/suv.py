"""Standardised uptake values of PET, by QIBA's vendor-neutral pseudo-code, or a plain sentence why there are none.

SUV = activity concentration (Bq/ml) * size of the body / dose that is left at the time the pixels are corrected to."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from readingroom.errors import BadInput
from readingroom.files import reading
from readingroom.volume import Frames, Volume

# UCUM units of CID 85.
_UNITS = {
    "bw": "g/ml{SUVbw}", "lbm": "g/ml{SUVlbm(James128)}", "lbmjanma": "g/ml{SUVlbm(Janma)}", "ibw": "g/ml{SUVibw}",
    "bsa": "cm2/ml{SUVbsa}",
}  # fmt: skip
_NAMES = {
    "PatientWeight": "Patient's Weight (0010,1030)",
    "PatientSize": "Patient's Size (0010,1020)",
    "PatientSex": "Patient's Sex (0010,0040)",
    "RadionuclideTotalDose": "Radionuclide Total Dose (0018,1074)",
    "RadionuclideHalfLife": "Radionuclide Half Life (0018,1075)",
    "Start": "Radiopharmaceutical Start DateTime (0018,1078) or Start Time (0018,1072)",
    "SeriesDate": "Series Date (0008,0021)",
    "SeriesTime": "Series Time (0008,0031)",
    "AcquisitionDate": "Acquisition Date (0008,0022)",
    "AcquisitionTime": "Acquisition Time (0008,0032)",
}
_TAGS: list[Any] = [
    "Modality", "Units", "SUVType", "CorrectedImage", "DecayCorrection", "PatientWeight", "PatientSize", "PatientSex",
    "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime", "FrameReferenceTime", "ActualFrameDuration",
    "RadiopharmaceuticalInformationSequence", 0x00090010, 0x0009100D, 0x70530010, 0x70531000, 0x70531009,
]  # fmt: skip


def volume(paths: Sequence[Path], dataset: str, kind: str) -> Volume:
    """The series as a volume of SUV, float32. Raises BadInput, NotAVolume, AccessEnded, Damaged, NotFound."""
    by = factor(_headers(paths, dataset), kind)
    found = Frames.of_files(paths, dataset).volume()
    array = (found.array.astype(np.float64) * by).astype(np.float32)
    window = found.window and (found.window[0] * by, found.window[1] * by)
    return replace(found, array=array, window=window, unit=_UNITS[kind], description=f"{found.description} SUV {kind}")


def _headers(paths: Sequence[Path], dataset: str) -> list[pydicom.Dataset]:
    found: list[pydicom.Dataset] = []
    for path in paths:
        with reading(path, dataset):
            found.append(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS))
    return found


def factor(headers: Sequence[pydicom.Dataset], kind: str) -> float:
    """What the modality values of one series are multiplied by. `kind`: bw, lbm, lbmjanma, ibw, bsa.

    Raises BadInput, which says what is missing."""
    if kind not in _UNITS:
        raise BadInput(f"There is no SUV by {kind!r}: there are {', '.join(_UNITS)}.")
    first = headers[0]
    if first.get("Modality") != "PT":
        raise BadInput(f"SUV is made of PET (PT): this series is {first.get('Modality') or 'of no modality'}.")
    _demand(kind, [name for name in _body_needs(kind) if not first.get(name)])
    size = _size(first, kind)
    units = first.get("Units")
    if units == "GML":
        return size / _from_grams(first, kind)
    corrected = set(first.get("CorrectedImage") or ())
    if not {"ATTN", "DECY"} <= corrected:
        raise BadInput(
            "SUV needs pixels corrected for attenuation and decay: Corrected Image (0028,0051) is "
            f"{', '.join(sorted(corrected)) or 'missing'}, not ATTN and DECY."
        )
    if units == "CNTS" and (ready := _philips(first, 0x70531000)):
        # Philips' own factor makes SUV by body weight.
        _demand(kind, [] if first.get("PatientWeight") else ["PatientWeight"])
        return ready * size / (float(first.PatientWeight) * 1000)
    counts = _philips(first, 0x70531009) if units == "CNTS" else 1.0
    if units not in {"BQML", "CNTS"} or not counts:
        raise BadInput(
            f"SUV needs activity in Bq/ml: Units (0054,1001) is {units or 'missing'}, and no factor makes Bq/ml of it."
        )
    return counts * size / _dose(headers, kind)


def _body_needs(kind: str) -> list[str]:
    more = {"bw": [], "bsa": ["PatientSize"], "ibw": ["PatientSize", "PatientSex"]}
    return ["PatientWeight"] * (kind != "ibw") + more.get(kind, ["PatientSize", "PatientSex"])


def _demand(kind: str, missing: Sequence[str]) -> None:
    if missing:
        names = " and ".join(_NAMES[name] for name in missing)
        raise BadInput(
            f"SUV by {kind} cannot be computed: {names} {'is' if len(missing) == 1 else 'are'} missing or 0. "
            "De-identification may have taken it away: ask your data steward for a version that retains patient "
            "characteristics and the times of the examination."
        )


def _size(first: pydicom.Dataset, kind: str) -> float:
    """Of the body, in g, or for `bsa` in cm2. Formulas as CID 85 names them, weight in kg, size in cm."""
    if kind == "bw":
        return float(first.PatientWeight) * 1000
    tall = float(first.PatientSize) * 100
    if kind == "bsa":
        # Du Bois and Du Bois 1916.
        return float(0.007184 * float(first.PatientWeight) ** 0.425 * tall**0.725 * 10_000)
    male = first.PatientSex == "M"
    if first.PatientSex not in {"M", "F"}:
        raise BadInput(f"SUV by {kind} has a formula for M and F: Patient's Sex (0010,0040) is {first.PatientSex}.")
    if kind == "ibw":
        return ((48.0 + 1.06 * (tall - 152)) if male else (45.5 + 0.91 * (tall - 152))) * 1000
    weight = float(first.PatientWeight)
    if kind in {"lbm", "lbm120"}:
        # James 1976 with 128 for men, as in SUV Type LBMJAMES128; SUV Type LBM has 120 (PS3.16 DCM 126411, 126415).
        ratio, men = (weight / tall) ** 2, 128 if kind == "lbm" else 120
        return (1.10 * weight - men * ratio if male else 1.07 * weight - 148 * ratio) * 1000
    # Janmahasatian 2005.
    index = weight / (tall / 100) ** 2
    return 9270 * weight / (6680 + 216 * index if male else 8780 + 244 * index) * 1000


def _from_grams(first: pydicom.Dataset, kind: str) -> float:
    """The size of the body that is in the pixels already: Units GML, SUV Type (0054,1006), body weight if not said."""
    said = {"LBM": "lbm120", "LBMJAMES128": "lbm", "LBMJANMA": "lbmjanma", "IBW": "ibw"}.get(first.get("SUVType"), "bw")
    _demand(kind, [name for name in _body_needs(said) if said != kind and not first.get(name)])
    return _size(first, said)


def _philips(first: pydicom.Dataset, tag: int) -> float:
    ours = str(first.get(0x70530010, pydicom.DataElement(0x70530010, "LO", "")).value).startswith("Philips PET")
    value = first[tag].value if ours and tag in first else 0
    try:
        return float(value or 0)
    except (TypeError, ValueError):
        return 0.0


def _dose(headers: Sequence[pydicom.Dataset], kind: str) -> float:
    """The dose, Bq, left at the time that the pixels are corrected to."""
    first = headers[0]
    drug: Any = (first.get("RadiopharmaceuticalInformationSequence") or [pydicom.Dataset()])[0]
    missing = [name for name in ("RadionuclideTotalDose",) if not drug.get(name)]
    correction = first.get("DecayCorrection")
    if correction == "ADMIN":
        _demand(kind, missing)
        return float(drug.RadionuclideTotalDose)
    if correction != "START":
        raise BadInput(f"SUV needs Decay Correction (0054,1102) of START or ADMIN: it is {correction or 'missing'}.")
    missing += [name for name in ("RadionuclideHalfLife",) if not drug.get(name)]
    missing += (
        [] if drug.get("RadiopharmaceuticalStartDateTime") or drug.get("RadiopharmaceuticalStartTime") else ["Start"]
    )
    times = ("SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime")
    missing += [name for name in times if not all(one.get(name) for one in headers)]
    _demand(kind, missing)
    half_life = float(drug.RadionuclideHalfLife)
    scan = _scan_start(headers, half_life)
    if said := drug.get("RadiopharmaceuticalStartDateTime"):
        # Hospitals' clocks have no zone in these objects but for this one's suffix.
        given = _moment(str(said)[:8], str(said)[8:])
    else:
        given = _moment(str(first.SeriesDate), str(drug.RadiopharmaceuticalStartTime))
        if given > scan:
            # Injected before midnight.
            given -= timedelta(days=1)
    waited = (scan - given).total_seconds()
    if waited < 0:
        raise BadInput(f"SUV cannot be computed: the drug was given at {given}, after the scan began at {scan}.")
    return float(drug.RadionuclideTotalDose) * float(2.0 ** (-waited / half_life))


def _scan_start(headers: Sequence[pydicom.Dataset], half_life: float) -> datetime:
    series = _moment(str(headers[0].SeriesDate), str(headers[0].SeriesTime))
    earliest = min(headers, key=_acquired)
    if series <= _acquired(earliest):
        return series
    # A series that was made later: its own time is not that of the scan.
    if str(earliest.get(0x00090010, pydicom.DataElement(0x00090010, "LO", "")).value) == "GEMS_PETD_01":
        said = str(earliest[0x0009100D].value) if 0x0009100D in earliest else ""
        if len(said) >= 14:
            return _moment(said[:8], said[8:])
    reference, lasted = (
        float(earliest.get(name) or 0) / 1000 for name in ("FrameReferenceTime", "ActualFrameDuration")
    )
    if reference <= 0 or lasted <= 0:
        return _acquired(earliest)
    decay = log(2) / half_life
    average = log(decay * lasted / (1 - exp(-decay * lasted))) / decay
    return _acquired(earliest) + timedelta(seconds=average - reference)


def _acquired(one: pydicom.Dataset) -> datetime:
    return _moment(str(one.AcquisitionDate), str(one.AcquisitionTime))


def _moment(date: str, time: str) -> datetime:
    """DA and TM (PS3.5 6.2), without the zone that a DT may end with."""
    whole, _, part = re.split("[+-]", time, maxsplit=1)[0].partition(".")
    try:
        return datetime.strptime(f"{date}{whole.ljust(6, '0')}.{part or '0'}", "%Y%m%d%H%M%S.%f")  # noqa: DTZ007
    except ValueError as error:
        raise BadInput(f"SUV cannot be computed: {date} {time} is no date and time.") from error
