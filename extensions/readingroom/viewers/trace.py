"""Waveforms on the paper that their readers know: an electrocardiogram on millimetre paper, others on a plain grid."""

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets

from readingroom.viewers.sheet import Control, Drawing, Sheet
from readingroom.waveforms import Waveform, waveforms_of

_WIDTH, _MARGIN, _LANES = 960, 8, 32
_LANE_MM = 15
"""Of paper, for each channel."""
_PAPER = {"uV": 100.0, "mV": 0.1}
"""How much 1 mm is at a gain of 1: 10 mm/mV, as electrocardiograms are written (AHA/ACCF/HRS 2007); 25 mm are 1 s."""
_MM_A_SECOND = 25
_FONT = 'role="img" font-family="system-ui, sans-serif" font-size="11"'
_INK = {False: ("#fff", "#111", "#f1c7c7", "#e08f8f"), True: ("#111", "#eee", "#4a2626", "#7a3c3c")}
"""Paper, trace, thin and thick lines; light and dark."""


class TraceView(Sheet):
    """Channels one below the other. `start` and `seconds` say what part is shown, `gain` how high; `file` and `group`
    which of several."""

    file = traitlets.Int(0, help="Which file of the series, from 0.").tag(sync=True)
    group = traitlets.Int(0, help="Which multiplex group of the file, from 0.").tag(sync=True)
    start = traitlets.Float(0.0, help="Seconds from the beginning.").tag(sync=True)
    seconds = traitlets.Float(10.0, help="How much of it is shown.").tag(sync=True)
    gain = traitlets.Float(1.0, help="1 is 10 mm/mV, or what shows the largest of other signals whole.").tag(sync=True)

    def __init__(self, paths: Sequence[Path], dataset: str, **traits: Any) -> None:
        """Read them. Raises BadInput where one holds no waveform, AccessEnded, Damaged, NotFound."""
        self.waveforms = [waveforms_of(path, dataset) for path in paths]
        """By file and multiplex group."""
        longest = max(w.seconds for groups in self.waveforms for w in groups)
        traits.setdefault("seconds", min(10.0, longest))
        super().__init__(
            "Waveform",
            paths,
            dataset,
            [
                Control("start", "Start (s)", 0.0, longest, 0.5, ("ArrowLeft", "ArrowRight")),
                Control("seconds", "Shown (s)", min(0.5, longest), longest, 0.5, ("+", "-")),
                Control("gain", "Gain", 0.25, 8.0, 0.25, ("ArrowDown", "ArrowUp")),
                Control("group", "Group", 0, max(map(len, self.waveforms)) - 1, 1, ("[", "]")),
                Control("file", "File", 0, len(paths) - 1, 1, ("PageUp", "PageDown")),
            ],
            **traits,
        )

    @traitlets.validate("file", "group", "start", "seconds", "gain")
    def _valid(self, proposal: Any) -> Any:
        return self._within(proposal)

    @property
    def waveform(self) -> Waveform:
        """The one that is shown."""
        return self._at(self.file, self.group)

    def _at(self, file: int, group: int) -> Waveform:
        groups = self.waveforms[file]
        return groups[min(group, len(groups) - 1)]

    def _draw(self, at: Mapping[str, Any], dark: bool) -> Drawing:
        """See Sheet. An SVG."""
        file = at.get("file", 0)
        shown = self._at(file, at.get("group", 0))
        seconds = min(at.get("seconds", shown.seconds), shown.seconds)
        start = min(at.get("start", 0.0), shown.seconds - seconds)
        words = (
            f"{shown.label or 'Waveform'}, {start:g} to {start + seconds:g} s of {shown.seconds:g} s: "
            f"{', '.join(shown.names[:_LANES])}"
        )
        if len(shown.names) > _LANES:
            words += f" and {len(shown.names) - _LANES} more channels, which to_frame() has"
        return Drawing("image/svg+xml", _svg(shown, start, seconds, at["gain"], dark, words).encode(), words)


def _svg(shown: Waveform, start: float, seconds: float, gain: float, dark: bool, words: str) -> str:
    paper, ink, thin, thick = _INK[dark]
    millimetre = _WIDTH / (seconds * _MM_A_SECOND)
    is_cardiac = set(shown.units) <= set(_PAPER)
    lane = min(max(_LANE_MM * millimetre, 36.0), 120.0) if is_cardiac else 60.0
    count = min(len(shown.names), _LANES)
    height = count * lane + 2 * _MARGIN + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" {_FONT}>',
        f"<title>{html.escape(words)}</title>",
        f'<rect width="100%" height="100%" fill="{paper}"/>',
        _grid(start, seconds, height - 16, thin, thick, millimetre if is_cardiac else None),
    ]
    first, last = int(start * shown.rate), math.ceil((start + seconds) * shown.rate) + 1
    for n in range(count):
        middle = _MARGIN + (n + 0.5) * lane
        values = shown.values[n]
        if shown.units[n] in _PAPER and is_cardiac:
            scale, zero = millimetre * gain / _PAPER[shown.units[n]], 0.0
        else:
            low, high = _range(values)
            scale, zero = 0.9 * lane * gain / ((high - low) or 1.0), (low + high) / 2
        y = middle - (values[first:last] - zero) * scale
        x = (np.arange(first, first + len(y)) / shown.rate - start) * _WIDTH / seconds
        parts.append(f'<path d="{_path(x, y)}" fill="none" stroke="{ink}" stroke-width="1.2" stroke-linejoin="round"/>')
        name = html.escape(shown.names[n] + ("" if is_cardiac else f" ({shown.units[n] or 'as stored'})"))
        parts.append(
            f'<text x="4" y="{middle - lane / 2 + 12:.1f}" fill="{ink}" stroke="{paper}" stroke-width="3" '
            f'paint-order="stroke" font-weight="600">{name}</text>'
        )
    box = f"large square: 0.2 s, {0.5 / gain:g} mV" if is_cardiac else f"between lines: {_step(seconds):g} s"
    parts.append(f'<text x="{_WIDTH - 4}" y="{height - 6:.0f}" text-anchor="end" fill="{ink}">{box}</text>')
    parts.append(f'<text x="4" y="{height - 6:.0f}" fill="{ink}">{start:g} s</text></svg>')
    return "".join(parts)


def _grid(start: float, seconds: float, height: float, thin: str, thick: str, millimetre: float | None) -> str:
    """Lines stand still in time: they move with the trace."""
    step = 1 / _MM_A_SECOND if millimetre else _step(seconds)
    scale = _WIDTH / seconds
    lines: dict[str, list[str]] = {thin: [], thick: []}
    for n in range(math.ceil(start / step - 1e-9), math.floor((start + seconds) / step + 1e-9) + 1):
        is_thick = n % 5 == 0
        if is_thick or step * scale >= 3:
            lines[thick if is_thick else thin].append(f"M{(n * step - start) * scale:.1f} 0V{height:.0f}")
    for n in range(int(height / millimetre) + 1 if millimetre else 0):
        if n % 5 == 0 or (millimetre or 0) >= 3:
            lines[thick if n % 5 == 0 else thin].append(f"M0 {n * (millimetre or 0):.1f}H{_WIDTH}")
    return "".join(f'<path d="{"".join(d)}" stroke="{colour}" stroke-width="0.7"/>' for colour, d in lines.items())


def _step(seconds: float) -> float:
    """Some ten lines across: 1, 2 or 5 times a power of ten, in seconds."""
    power = float(10.0 ** math.floor(math.log10(seconds / 10)))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= seconds / 10 - 1e-12)


def _range(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    seen = values[np.isfinite(values)]
    return (float(seen.min()), float(seen.max())) if seen.size else (0.0, 0.0)


def _path(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> str:
    """At most two points a column of the picture, with every peak; a gap where there is no sample."""
    if len(x) > 2 * _WIDTH:
        step = math.ceil(len(x) / _WIDTH)
        keep: list[npt.NDArray[np.intp]] = []
        for at in range(0, len(x), step):
            part = y[at : at + step]
            if np.isfinite(part).all():
                keep.append(np.unique([at + int(part.argmin()), at + int(part.argmax())]))
            else:
                keep.append(np.arange(at, at + len(part)))
        chosen = np.concatenate(keep)
        x, y = x[chosen], y[chosen]
    parts, pen = [], "M"
    for at, value in zip(x.tolist(), y.tolist(), strict=True):
        if math.isfinite(value):
            parts.append(f"{pen}{at:.1f} {value:.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(parts)
