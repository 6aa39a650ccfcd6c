"""Which viewer a series has that is no stack of pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from readingroom.objects import read_object

# Storage SOP Classes (PS3.4 B.5) begin so: structured reports, waveforms, encapsulated PDF, whole slides.
_REPORTS, _WAVEFORMS, _PDF, _SLIDES = ("1.2.840.10008.5.1.4.1.1." + tail for tail in ("88.", "9.", "104.1", "77.1.6"))


def view_of(files: Sequence[Path], dataset: str, **traits: Any) -> Any:
    """A StructuredReport, TraceView, PagesView or SlideView; None for any other kind. Imports what it needs, then.

    Raises what the viewer raises."""
    kind = str(read_object(files[0], dataset, ["SOPClassUID"]).get("SOPClassUID") or "") + "."
    if kind.startswith(_REPORTS):
        from readingroom.viewers.structured import StructuredReport

        return StructuredReport(files, dataset)
    if kind.startswith(_WAVEFORMS):
        from readingroom.viewers.trace import TraceView

        return TraceView(files, dataset, **traits)
    if kind.startswith(_PDF + "."):
        from readingroom.viewers.pages import PagesView

        return PagesView(files, dataset, **traits)
    if kind.startswith(_SLIDES + "."):
        from readingroom.viewers.slide import SlideView

        return SlideView(files, dataset, **traits)
    return None
