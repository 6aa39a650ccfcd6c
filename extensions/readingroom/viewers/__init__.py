"""Viewers for notebooks: a widget that pulls the slice on the screen, and leaves a still picture in a saved page."""

from collections.abc import Sequence
from typing import Any

from readingroom.viewers.browse import DatasetBrowser
from readingroom.viewers.hanging import HangView
from readingroom.viewers.mpr import MprView
from readingroom.viewers.pictures import pictures_of
from readingroom.viewers.series import SeriesView

__all__ = ["DatasetBrowser", "HangView", "MprView", "SeriesView", "hang", "view"]


def view(source: Any, spacing: tuple[float, ...] | None = None, **traits: Any) -> SeriesView:
    """Show an array, a volume, or the frames of a series.

    `source`: an array (rows, columns), (slices, rows, columns), or uint8 colour (slices, rows, columns, 3);
    a Volume; Frames. `spacing`: mm between (rows, columns) or (slices, rows, columns), for arrays.
    `traits`: index, window=(centre, width), invert, zoom, pan; static='none' keeps no picture in a
    saved page. Raises BadInput for anything else."""
    return SeriesView(pictures_of(source, spacing), **traits)


def hang(sources: Sequence[Any], **traits: Any) -> HangView:
    """Show 2 to 6 series side by side, linked by their position in the patient: prior and current, for example.

    `sources`: series, frames, volumes or arrays. `traits`: position, window, zoom (what is linked), blink;
    static='none' keeps no picture in a saved page. Raises BadInput."""
    return HangView(sources, **traits)
