"""The fourth dimension: images that share their places, told apart by time, echo, diffusion weighting or the like."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import median_low
from typing import Any

from readingroom.errors import NotAVolume
from readingroom.marks import ATTRIBUTES, Mark
from readingroom.planes import Plane
from readingroom.volume import Frames, Volume

_PLACES = 3
"""Decimals of a mm: two images of one place are written alike, or nearly so."""

_WEIGHTED = ("DiffusionBValue", "DiffusionGradientOrientation")
_SINGLE = [(name,) for name in ATTRIBUTES if name != "DiffusionGradientOrientation"]
_CRITERIA: list[tuple[str, ...]] = [
    *_SINGLE[:3],
    # A direction says little without its weighting.
    _WEIGHTED,
    _WEIGHTED[1:],
    *_SINGLE[3:],
    *(pair for pair in combinations(ATTRIBUTES, 2) if pair != _WEIGHTED),
]


@dataclass(frozen=True, slots=True)
class Phase:
    """One image at each place."""

    attributes: tuple[str, ...]
    """Keywords of what tells the phases apart; empty where there is only one."""
    values: tuple[Mark, ...]
    """Of these attributes. Where they differ from place to place, as trigger times do, the middle one."""
    exact: bool
    """The values are the same at every place."""
    frames: Frames

    @property
    def label(self) -> str:
        """For example `DiffusionBValue 1000 s/mm2`."""
        about = "" if self.exact else "about "
        return ", ".join(
            f"{name} {about}{_said(value)} {ATTRIBUTES[name].unit}".strip()
            for name, value in zip(self.attributes, self.values, strict=True)
            if value != ""
        )

    def volume(self) -> Volume:
        """See Frames.volume. Raises NotAVolume."""
        return self.frames.volume()

    def view(self, **traits: Any) -> Any:
        """See Series.view."""
        from readingroom.viewers import SeriesView

        return SeriesView(self.frames, **traits)

    def __repr__(self) -> str:
        return f"Phase({self.label or 'the only one'}, {len(self.frames)} images)"


def phases_of(frames: Frames) -> list[Phase]:
    """Split a series by what tells apart the images of one place, in the order of its values. One phase where no two
    images share a place.

    Raises NotAVolume where images have no place, where some places have more images than others, or where nothing
    that is known tells them apart."""
    places: dict[tuple[float, ...], list[Plane]] = defaultdict(list)
    for plane in frames.planes:
        if plane.position is None or plane.orientation is None:
            raise NotAVolume("The images have no place in the patient, so none can share one; use series.frames().")
        places[tuple(round(v, _PLACES) for v in (*plane.position, *plane.orientation))].append(plane)
    counts = {len(here) for here in places.values()}
    if counts == {1}:
        return [Phase((), (), True, frames)]
    if len(counts) > 1:
        raise NotAVolume(
            f"Some places have {min(counts)} images, others {max(counts)} (an image is missing, or was taken twice?); "
            "choose among series.frames()."
        )
    names, exact = _criterion(list(places.values()))
    ranked = [sorted(here, key=lambda p: _sortable(_marks(p, names))) for here in places.values()]
    made = []
    for rank in zip(*ranked, strict=True):
        chosen = {id(plane) for plane in rank}
        values = median_low([_sortable(_marks(plane, names)) for plane in rank])
        planes = tuple(plane for plane in frames.planes if id(plane) in chosen)
        made.append(Phase(names, tuple(value for _, value in values), exact, replace(frames, planes=planes)))
    return made


def _criterion(places: Sequence[Sequence[Plane]]) -> tuple[tuple[str, ...], bool]:
    """The attributes, one or a pair, that differ between any two images of one place; and whether each place has the
    same values, which is what to prefer."""
    known = [n for n in ATTRIBUTES if len({_marks(plane, (n,)) for here in places for plane in here}) > 1]
    split = None
    for chosen in (names for names in _CRITERIA if set(names) <= set(known)):
        found = [{_marks(plane, chosen) for plane in here} for here in places]
        if any(len(values) < len(here) for values, here in zip(found, places, strict=True)):
            continue
        if all(values == found[0] for values in found):
            return chosen, True
        split = split or (chosen if len(chosen) == 1 else None)
    if split is None:
        raise NotAVolume(
            f"{len(places[0])} images share each place, and none of {', '.join(ATTRIBUTES)} tells them apart; "
            "choose among series.frames()."
        )
    return split, False


def _marks(plane: Plane, names: Sequence[str]) -> tuple[Mark, ...]:
    """An image without the attribute is told apart by that, as one without diffusion weighting has no direction."""
    return tuple(plane.marks.get(name, "") for name in names)


def _sortable(marks: Sequence[Mark]) -> tuple[tuple[str, Mark], ...]:
    """Numbers before texts before directions: one attribute may hold either in a file that is not as it should be."""
    return tuple((type(mark).__name__, mark) for mark in marks)


def _said(mark: Mark) -> str:
    if isinstance(mark, tuple):
        return f"({', '.join(f'{v:.3g}' for v in mark)})"
    return f"{mark:g}" if isinstance(mark, float) else mark
