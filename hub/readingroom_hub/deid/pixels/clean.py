"""The Clean Pixel Data Option of PS3.15 E.3.1: burnt-in text masked in every frame, then looked for again."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pydicom

from readingroom_hub.deid.part10 import CannotDeidentify, Part10
from readingroom_hub.deid.pixels import ocr, tesseract
from readingroom_hub.deid.pixels.ocr import Line
from readingroom_hub.deid.pixels.render import Rendered, thumbnail
from readingroom_hub.deid.pixels.stored import Box, Pixels, Stored
from readingroom_hub.deid.pixels.verdict import Judge, Verdict, identifying, legible
from readingroom_hub.deid.policy import Policy, UnsureText

_ROUNDS = 3
_FILLED, _MOST = 0.7, 0.5
_LEGIBLE, _LARGE = 0.5, 0.1


@dataclass(frozen=True, slots=True)
class Mask:
    """A part of every frame that shows one colour now."""

    box: Box
    verdict: Verdict
    """What was found there. The text itself is nowhere."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was done to the pixels of one object."""

    frames: int
    rows: int
    columns: int
    masks: tuple[Mask, ...]
    kept: tuple[str, ...]
    """Text that was read and is still there."""
    thumbnail: bytes = b""
    """PNG of the first frame as it is now, masks outlined; empty where there is none."""


def _nobody(_text: str) -> bool:
    return False


def clean(file: Part10, policy: Policy, others: Callable[[str], bool] = _nobody) -> tuple[Part10, Cleaned]:
    """Mask text in `file`; the rest of its stored values stay as they are.

    `others` tells whether a text names somebody else of the batch.
    Changes the header: BurnedInAnnotation, and what describes the encoding where that is another one.
    Raises CannotDeidentify where pixels cannot be decoded, text stays, or the policy wants a person to look."""
    header = file.header
    look = _Look(header, policy, others)
    stored = Stored(file)
    before = stored.values.copy()
    rendered = Rendered(stored, header)
    dark = rendered.darkest()
    readers = (ocr.lines_again, tesseract.lines) if policy.second_reader else (ocr.lines_again,)
    found = [[line for image in scene for line in ocr.lines(image)] for scene in rendered.scenes()]
    ruled = [Mask(b, Verdict.REGION) for r in policy.regions if r.fits(header) for b in r.within(*stored.size)]
    if _declared(header) and not any(found) and not ruled:
        raise CannotDeidentify("BurnedInAnnotation is YES, and no text was found in its pixels")
    masks = _distinct([*ruled, *(mask for lines in found for mask in look.judge(lines, stored))])
    for _ in range(_ROUNDS):
        result, written = file, stored
        if masks:  # what needs none stays as it is encoded
            for mask in masks:
                stored.fill(mask.box, dark)
            result = stored.encode()
            written = Stored(result)
            _check_same(before, written, masks)
        scenes = Rendered(written, header).scenes()
        again = [line for s in scenes for image in s for reader in readers for line in reader(image)]
        more = look.judge_again(again, written, masks)
        if not more:
            header.BurnedInAnnotation = "NO"
            kept = tuple(dict.fromkeys(line.text for line in look.kept))
            boxes = [mask.box for mask in masks]
            shown = thumbnail(Rendered(written, header).rgb(0), boxes) if masks else b""
            return result, Cleaned(stored.frames, stored.rows, stored.columns, tuple(masks), kept, shown)
        masks += more
    raise CannotDeidentify("text in its pixels is still found after masking")


def clear_overlays(file: Part10, bits: Iterable[int]) -> Part10:
    """Set the bits of retired overlays in Pixel Data (PS3.5 8.1.2) to 0, and nothing else."""
    stored = Stored(file)
    cleared = [stored.clear(bit) for bit in bits]
    return stored.encode() if any(cleared) else file


class _Look:
    """What is decided about the lines of one object."""

    def __init__(self, header: pydicom.Dataset, policy: Policy, others: Callable[[str], bool]) -> None:
        self._judge = Judge(identifying(header), others)
        self._unsure = policy.unsure_text
        self._regions = list(_regions(header))
        self.kept: list[Line] = []

    def judge(self, lines: list[Line], stored: Stored) -> list[Mask]:
        """Masks for what has to go from one scene; the others are `kept`."""
        verdicts = [(line, self._verdict(line)) for line in lines]
        self.kept += [line for line, verdict in verdicts if not self._goes(verdict, line.box)]
        return self._masks(verdicts, stored)

    def judge_again(self, lines: list[Line], stored: Stored, masks: list[Mask]) -> list[Mask]:
        """The same over what was written: masks for what has to go, too."""
        found = self._masks([(line, self._verdict(line)) for line in lines], stored)
        return _distinct([f for f in found if not any(_covered(f.box, m.box) >= 1 for m in masks)])

    def _verdict(self, line: Line) -> Verdict:
        verdict = self._judge(line.text)
        left, top, right, bottom = line.box
        if verdict is Verdict.HARMLESS and not legible(line.text, line.score, right - left, bottom - top):
            return Verdict.UNSURE
        return verdict

    def _masks(self, verdicts: list[tuple[Line, Verdict]], stored: Stored) -> list[Mask]:
        """Two images of a scene, and two looks, read one text twice: where one reading is harmless, it is."""
        return [
            Mask(_grown(line.box, stored), verdict)
            for line, verdict in verdicts
            if self._goes(verdict, line.box)
            and not (verdict is Verdict.UNSURE and (_texture(line, stored) or self._read_as_harmless(line)))
        ]

    def _read_as_harmless(self, line: Line) -> bool:
        """Whether harmless lines fill its place: the same one, or several that are read as one now."""
        left, top, right, bottom = line.box
        inside = [k.box for k in self.kept if top < (k.box[1] + k.box[3]) / 2 < bottom]
        shown = {x for box in inside for x in range(max(left, box[0]), min(right, box[2]))}
        return len(shown) > _FILLED * (right - left)

    def _goes(self, verdict: Verdict, box: Box) -> bool:
        if verdict is Verdict.HARMLESS:
            return False
        if verdict is not Verdict.UNSURE or self._unsure is UnsureText.MASK:
            return True
        if self._unsure is UnsureText.QUARANTINE:
            raise CannotDeidentify("text in its pixels that is not known to be harmless: a person has to look")
        # Systems write who and when around the image, what was measured into it (PS3.3 C.8.5.5).
        return bool(self._regions) and not any(_covered(box, region) > _MOST for region in self._regions)


def _check_same(before: Pixels, written: Stored, masks: list[Mask]) -> None:
    if before.shape != written.values.shape:
        raise CannotDeidentify("its Pixel Data came out in another shape")
    for index, frame in enumerate(before):
        changed = (written.values[index] != frame).any(axis=-1)
        for mask in masks:
            changed[written.window(mask.box)[1:]] = False
        if changed.any():
            raise CannotDeidentify("pixels outside the masks changed when they were encoded again")


def _regions(header: pydicom.Dataset) -> Iterator[Box]:
    for item in header.get("SequenceOfUltrasoundRegions") or ():
        corners = ("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1", "RegionLocationMaxY1")
        left, top, right, bottom = (int(item.get(k) or 0) for k in corners)
        yield left, top, right + 1, bottom + 1


def _declared(header: pydicom.Dataset) -> bool:
    return str(header.get("BurnedInAnnotation") or "").strip().upper() == "YES"


def _grown(box: Box, stored: Stored) -> Box:
    """With a margin, since boxes are tight around letters; more along the line, where a first letter may be missed."""
    left, top, right, bottom = box
    height = min(bottom - top, right - left)
    along, across = max(3, round(0.35 * height)), max(2, round(0.15 * height))
    if bottom - top > right - left:
        along, across = across, along
    return (
        max(0, left - along),
        max(0, top - across),
        min(stored.columns, right + along),
        min(stored.rows, bottom + across),
    )


def _covered(box: Box, other: Box) -> float:
    """The part of `box` that `other` covers."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    area = max(1, (box[2] - box[0]) * (box[3] - box[1]))
    return max(0, width) * max(0, height) / area


def _texture(line: Line, stored: Stored) -> bool:
    """Whether it is large and hardly legible: anatomy that looks like letters, not text."""
    return line.score < _LEGIBLE and line.box[3] - line.box[1] > stored.rows * _LARGE


def _distinct(masks: list[Mask]) -> list[Mask]:
    """Without those that lie in another one."""
    kept: list[Mask] = []
    for mask in sorted(masks, key=lambda m: ((m.box[0] - m.box[2]) * (m.box[3] - m.box[1]), m.box)):
        if not any(_covered(mask.box, k.box) >= 1 for k in kept):
            kept.append(mask)
    return kept
