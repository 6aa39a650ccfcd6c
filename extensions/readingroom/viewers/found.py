"""Which series of an index fit filters and a search, and how many would fit another choice. Reads nothing."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from readingroom.errors import BadInput
from readingroom.index import SeriesRow

FACETS = {
    "modality": "Modality",
    "body_part": "Body part",
    "thickness": "Slice thickness (mm)",
    "kernel": "Kernel",
    "sex": "Sex",
    "age": "Age (years)",
}
"""What series are filtered by, and its name for people."""
MOST_VALUES = 60
"""Values of one filter that are offered: the most frequent."""

Filters = Mapping[str, Sequence[str]]
Mask = npt.NDArray[np.bool_]


def _order(value: str) -> tuple[float, str]:
    """Numbers and bands by their size, before words."""
    try:
        return float(value.rstrip("+").partition("-")[0]), value
    except ValueError:
        return float("inf"), value


class Findable:
    """The series of an index by columns: each filter's values once, and a number for each series."""

    def __init__(self, rows: Sequence[SeriesRow]) -> None:
        self.rows = rows
        self._values: dict[str, list[str]] = {}
        self._codes: dict[str, npt.NDArray[np.int32]] = {}
        for name in FACETS:
            told = [getattr(row, name) for row in rows]
            self._values[name] = sorted(set(told), key=_order)
            codes = {value: i for i, value in enumerate(self._values[name])}
            self._codes[name] = np.fromiter((codes[value] for value in told), np.int32, len(rows))

    @cached_property
    def _words(self) -> list[str]:
        return [f"{r.description}\n{r.patient}\n{r.study}\n{r.series}".casefold() for r in self.rows]

    def known(self, name: str) -> bool:
        """Whether any series tells of this."""
        return any(self._values[name])

    def check(self, filters: Filters) -> None:
        """Raise BadInput for what is no filter of `FACETS`, or is no list of texts."""
        for name, chosen in filters.items():
            if name not in FACETS:
                raise BadInput(f"There is no filter {name!r}: there are {', '.join(FACETS)}.")
            if isinstance(chosen, str) or not all(isinstance(value, str) for value in chosen):
                raise BadInput(f"filters[{name!r}]={chosen!r}: give a list of texts, [''] for what is not told.")

    def _mask(self, name: str, chosen: Sequence[str]) -> Mask:
        codes = [i for i, value in enumerate(self._values[name]) if value in chosen]
        return np.isin(self._codes[name], codes)

    def _searched(self, search: str) -> Mask:
        wanted = search.casefold().split()
        if not wanted:
            return np.ones(len(self.rows), bool)
        return np.fromiter((all(w in words for w in wanted) for words in self._words), bool, len(self.rows))

    def matching(
        self, filters: Filters, search: str = ""
    ) -> tuple[npt.NDArray[np.intp], dict[str, list[list[object]]]]:
        """The numbers of the series that fit all filters and every word of the search, in the index's order; and for
        each filter [value, how many fit when it is chosen and the others stay], most frequent first to be kept."""
        self.check(filters)
        masks = {name: self._mask(name, chosen) for name, chosen in filters.items() if chosen}
        searched = self._searched(search)
        counts: dict[str, list[list[object]]] = {}
        for name, values in self._values.items():
            fits = searched
            for other, mask in masks.items():
                if other != name:
                    fits = fits & mask
            found = np.bincount(self._codes[name][fits], minlength=len(values))
            chosen = set(filters.get(name, ()))
            kept = sorted(range(len(values)), key=lambda i: (values[i] not in chosen, -found[i]))[:MOST_VALUES]
            counts[name] = [[values[i], int(found[i])] for i in sorted(kept)]
        fits = searched
        for mask in masks.values():
            fits = fits & mask
        return np.flatnonzero(fits), counts
