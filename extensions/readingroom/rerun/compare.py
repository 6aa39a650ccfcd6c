"""Compare a rerun's outputs with the stored ones: graded verdicts by MIME type, with tolerances stated beforehand."""

import base64
import binascii
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

RTOL, ATOL = 1e-6, 1e-9
PIXEL_LEVELS, PIXEL_SHARE = 2, 0.001
_MAX_PIXELS = 64_000_000

# A number is not part of a word: `sha1` and `x2` stay text. The sign belongs to it where nothing stands before.
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w])")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")
_WIDGET = "application/vnd.jupyter.widget-view+json"
_INJECTED, _NONDETERMINISTIC = "injected-parameters", "nondeterministic"


class Verdict(StrEnum):
    """Of one cell, from best to worst; stable words of rerun.json."""

    IDENTICAL = "identical"
    EXCLUDED = "excluded"
    WITHIN_TOLERANCE = "within-tolerance"
    EXTRA = "extra"
    MISSING = "missing"
    DIFFERS = "differs"


_BAD_FROM = list(Verdict).index(Verdict.EXTRA)


@dataclass(frozen=True, slots=True)
class CellVerdict:
    """What became of one code cell's outputs."""

    cell: int
    """Number of the cell, from 1 over all cells of the executed notebook."""
    verdict: Verdict
    reason: str


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The worst of them, identical where there are none."""
    return max(verdicts, key=list(Verdict).index, default=Verdict.IDENTICAL)


def reproduced(cells: Sequence[CellVerdict]) -> bool:
    """Whether nothing is worse than within tolerance."""
    return all(list(Verdict).index(c.verdict) < _BAD_FROM for c in cells)


def has_outputs(notebook: Mapping[str, Any]) -> bool:
    """Whether there is anything stored to compare with."""
    return any(c.get("outputs") for c in notebook["cells"])


def compare(stored: Mapping[str, Any], rerun: Mapping[str, Any]) -> list[CellVerdict]:
    """One verdict for each code cell of `rerun`, aligned by source with those of `stored`, both in order.

    The cell that holds injected parameters is on neither side."""
    left = [cell for _, cell in _code(stored)]
    found, at = [], 0
    for number, cell in _code(rerun):
        match = next((i for i in range(at, len(left)) if left[i]["source"] == cell["source"]), None)
        if match is None:
            found.append(CellVerdict(number, Verdict.EXTRA, "the stored notebook has no such cell"))
            continue
        at = match + 1
        found.append(_cell(number, left[match], cell))
    return found


def _code(notebook: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    return [
        (number, cell)
        for number, cell in enumerate(notebook["cells"], 1)
        if cell["cell_type"] == "code" and cell["source"].strip() and _INJECTED not in _tags(cell)
    ]


def _tags(cell: Mapping[str, Any]) -> Sequence[str]:
    tags: Sequence[str] = cell.get("metadata", {}).get("tags", [])
    return tags


def _cell(number: int, stored: Mapping[str, Any], rerun: Mapping[str, Any]) -> CellVerdict:
    if _NONDETERMINISTIC in _tags(stored):
        return CellVerdict(number, Verdict.EXCLUDED, f"tagged {_NONDETERMINISTIC} by its author")
    left, right = _outputs(stored), _outputs(rerun)
    judged = [_bundle(a, b) for a, b in zip(left, right, strict=False)]
    if len(left) > len(right):
        judged.append((Verdict.MISSING, f"{len(left) - len(right)} of {len(left)} stored outputs are missing"))
    elif len(right) > len(left):
        judged.append((Verdict.EXTRA, f"{len(right) - len(left)} outputs are new"))
    verdict = worst([v for v, _ in judged])
    return CellVerdict(number, verdict, "; ".join(dict.fromkeys(r for v, r in judged if v == verdict and r)))


def _outputs(cell: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Outputs as MIME bundles. Streams of one name are one text; stderr (warnings, progress bars) is not compared;
    a live widget's identifier is random, so of a widget only its still picture and text count."""
    bundles: list[dict[str, Any]] = []
    streams: dict[str, Any] | None = None
    for output in cell.get("outputs", []):
        if output["output_type"] == "stream":
            if output["name"] != "stdout":
                continue
            if streams is None:
                streams = {"text/plain": ""}
                bundles.append(streams)
            streams["text/plain"] += _text(output["text"])
        elif output["output_type"] == "error":
            bundles.append({"text/plain": f"{output['ename']}: {output['evalue']}"})
        else:
            data = dict(output["data"])
            if _WIDGET in data and "image/png" not in data:
                continue
            data.pop(_WIDGET, None)
            bundles.append(data)
    return bundles


def _bundle(left: Mapping[str, Any], right: Mapping[str, Any]) -> tuple[Verdict, str]:
    judged = []
    for mime in sorted({*left, *right}):
        if mime not in right:
            judged.append((Verdict.MISSING, f"no {mime}"))
        elif mime not in left:
            judged.append((Verdict.EXTRA, f"new {mime}"))
        else:
            judged.append(_one(mime, left[mime], right[mime]))
    verdict = worst([v for v, _ in judged])
    return verdict, "; ".join(r for v, r in judged if v == verdict and r)


def _one(mime: str, left: Any, right: Any) -> tuple[Verdict, str]:
    if left == right:
        return Verdict.IDENTICAL, ""
    if mime in {"image/png", "image/jpeg"}:
        return _images(left, right)
    if isinstance(left, dict) or isinstance(right, dict):
        left, right = (json.dumps(v, sort_keys=True, indent=0) for v in (left, right))
    return texts(_text(left), _text(right))


def _text(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else str(value)


def texts(left: str, right: str) -> tuple[Verdict, str]:
    """Compare texts: what is not a number must be equal, numbers must be close."""
    left, right = (_ADDRESS.sub("0x...", text) for text in (left, right))
    if left == right:
        return Verdict.IDENTICAL, ""
    if _NUMBER.sub("#", left) != _NUMBER.sub("#", right):
        return Verdict.DIFFERS, _first_difference(left, right)
    for a, b in zip(_NUMBER.findall(left), _NUMBER.findall(right), strict=True):
        if not close(float(a), float(b)):
            return Verdict.DIFFERS, f"{a} was stored, {b} came out"
    return Verdict.WITHIN_TOLERANCE, "numbers agree within tolerance"


def close(a: float, b: float) -> bool:
    """Whether two numbers agree, whichever of them is called the right one."""
    return a == b or math.isclose(a, b, rel_tol=RTOL, abs_tol=ATOL)


def _first_difference(left: str, right: str) -> str:
    a, b = left.splitlines(), right.splitlines()
    for x, y in zip(a, b, strict=False):
        if x != y:
            return f"{x[:80]!r} was stored, {y[:80]!r} came out"
    return f"{len(a)} lines were stored, {len(b)} came out"


def _images(left: Any, right: Any) -> tuple[Verdict, str]:
    try:
        a, b = _pixels(left), _pixels(right)
    except (UnidentifiedImageError, binascii.Error, OSError, ValueError) as error:
        return Verdict.DIFFERS, f"an image could not be decoded: {error}"
    if a.shape != b.shape:
        return Verdict.DIFFERS, f"an image of {a.shape[1]} x {a.shape[0]} came out as {b.shape[1]} x {b.shape[0]}"
    apart = np.abs(a.astype(np.int16) - b.astype(np.int16)).max(axis=2)
    if not apart.any():
        return Verdict.IDENTICAL, ""
    share = float((apart > PIXEL_LEVELS).mean())
    if share <= PIXEL_SHARE:
        return Verdict.WITHIN_TOLERANCE, f"an image agrees but for {share:.2%} of its pixels"
    return Verdict.DIFFERS, f"{share:.2%} of an image's pixels differ by more than {PIXEL_LEVELS} of 255 levels"


def _pixels(encoded: Any) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(base64.b64decode(_text(encoded)))) as image:
        if image.width * image.height > _MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels are more than {_MAX_PIXELS}")
        return np.asarray(image.convert("RGBA"))
