"""Values that few patients of a batch share, so that they may tell who somebody is (k-anonymity over the header)."""

import warnings
from collections import defaultdict
from typing import Any

import pydicom

# What Retain Patient Characteristics keeps and other people may know of a person.
QUASI = ("PatientSex", "PatientAge", "PatientSize", "PatientWeight", "EthnicGroup", "Occupation", "PregnancyStatus")
_MOST_ROWS = 200


def known(header: pydicom.Dataset) -> dict[str, str]:
    """What one de-identified header tells of its patient, by keyword."""
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        return {k: v for k in QUASI if (v := str(header.get(k) or "").strip())}


class RareValues:
    """Counts patients, by pseudonym: for each value of each attribute, and for sex and age together."""

    def __init__(self) -> None:
        self._patients: dict[tuple[str, str], set[str]] = defaultdict(set)

    def add(self, patient: str, values: dict[str, str]) -> None:
        """Take what `known` tells of one file."""
        for keyword, value in values.items():
            self._patients[keyword, value].add(patient)
        if "PatientSex" in values and "PatientAge" in values:
            self._patients["PatientSex, PatientAge", f"{values['PatientSex']}, {values['PatientAge']}"].add(patient)

    def rows(self, threshold: int) -> list[dict[str, Any]]:
        """What fewer than `threshold` patients share, the rarest first; at most 200 rows."""
        found = sorted((len(p), what) for what, p in self._patients.items() if len(p) < threshold)
        return [{"attribute": k, "value": v, "patients": n} for n, (k, v) in found[:_MOST_ROWS]]
