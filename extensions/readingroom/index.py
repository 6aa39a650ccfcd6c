"""What a dataset's index.csv says, grouped to series: one row is held for each series, none for an instance."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from sys import intern

from readingroom.errors import BadInput, NotFound
from readingroom.files import reading

NAME = "index.csv"


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """One series as its index tells it. Texts are those of its first instance, and empty where they are not known."""

    study: str
    series: str
    patient: str
    """Patient ID: the pseudonym."""
    study_date: str
    """YYYYMMDD, shifted."""
    modality: str
    description: str
    body_part: str
    rows: int
    columns: int
    spacing: str
    """Pixel Spacing as DICOM writes it: row\\column in mm."""
    n: int
    """Instances."""
    frames: int
    """Pictures in all of them."""
    middle: str
    """SOP Instance UID of the instance in the middle, by Instance Number."""

    thickness: str
    """Slice Thickness in mm."""
    kernel: str
    """Convolution Kernel."""
    sex: str
    """M, F or O."""
    age: str
    """Band of ten years: 0-9 and so on, 90+."""
    model: str
    """Manufacturer's Model Name."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(pictures, rows, columns); empty where the series holds no images."""
        return (self.frames, self.rows, self.columns) if self.frames else ()


_NEEDED = ("study", "series", "modality", "description", "rows", "columns", "frames", "spacing")
# What an index lacks of these is empty.
_TEXTS = (
    "patient", "study_date", "modality", "description", "body_part", "spacing", "thickness", "kernel", "sex", "age",
    "model",
)  # fmt: skip


def series_of(folder: Path, dataset: str) -> list[SeriesRow] | None:
    """The series of `folder`/index.csv in its order, or None where there is none. Reads no image; its memory grows with
    the number of series alone. Raises AccessEnded, Damaged, BadInput."""
    path = folder / NAME
    try:
        with reading(path, dataset), path.open(encoding="utf-8", newline="") as file:
            return list(_grouped(file))
    except NotFound:
        return None
    except (ValueError, IndexError, csv.Error) as error:
        raise BadInput(f"{path} could not be understood: {error!r}") from error


def _grouped(lines: Iterator[str]) -> Iterator[SeriesRow]:
    """The instances of a series stand together in the index, in the order of their numbers."""
    table = csv.reader(lines)
    place = {name: i for i, name in enumerate(next(table, []))}
    if missing := [name for name in _NEEDED if name not in place]:
        raise ValueError(f"it has no column {', '.join(missing)}")
    frames, instance = place["frames"], place.get("instance")
    for (study, series), found in groupby(table, itemgetter(place["study"], place["series"])):
        rows = list(found)
        first = rows[0]
        # Few different texts stand in many rows: each is kept once.
        texts = {name: intern(first[place[name]]) if name in place else "" for name in _TEXTS}
        yield SeriesRow(
            study=intern(study),
            series=series,
            rows=int(first[place["rows"]]),
            columns=int(first[place["columns"]]),
            n=len(rows),
            frames=sum(int(row[frames]) for row in rows),
            middle="" if instance is None else rows[len(rows) // 2][instance],
            **texts,
        )
