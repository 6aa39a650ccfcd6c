"""A second reader of text in images, of another make than the first: Tesseract, where a policy asks for it."""

import csv
import io
import shutil
import subprocess
from collections import defaultdict

import numpy as np

from readingroom_hub.deid.part10 import CannotDeidentify
from readingroom_hub.deid.pixels.ocr import Line
from readingroom_hub.deid.pixels.stored import Pixels

_SECONDS = 120
# Sparse text in no order; one thread, since the ingest runs one process a core.
_COMMAND = ("stdin", "stdout", "--psm", "11", "-c", "tessedit_create_tsv=1")
_LARGER, _SIDE, _DARK = 2.0, 2400, 128


def installed() -> bool:
    """Whether it can be run."""
    return shutil.which("tesseract") is not None


def lines(image: Pixels) -> list[Line]:
    """Every line of text in an 8-bit RGB image (rows, columns, 3). The image goes through a pipe, never to a disk.

    Raises CannotDeidentify where Tesseract is missing or fails."""
    import cv2

    scale = min(_LARGER, max(1.0, _SIDE / max(image.shape)))
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    if grey.mean() < _DARK:  # it was taught black on white
        grey = 255 - grey
    if scale > 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    data = bytes(cv2.imencode(".pgm", grey)[1])
    try:
        environment = {"OMP_THREAD_LIMIT": "1", "PATH": "/usr/local/bin:/usr/bin:/bin"}
        done = subprocess.run(
            ["tesseract", *_COMMAND], input=data, capture_output=True, timeout=_SECONDS, check=True, env=environment
        )
    except (subprocess.SubprocessError, FileNotFoundError) as error:
        raise CannotDeidentify("Tesseract, the second reader of its pixels, failed") from error
    return _lines(done.stdout.decode("utf-8", "replace"), scale)


def _lines(table: str, scale: float) -> list[Line]:
    words: dict[tuple[str, ...], list[tuple[list[int], str, float]]] = defaultdict(list)
    for row in csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE):
        if row["level"] == "5" and (text := (row["text"] or "").strip()):
            left, top, width, height = (int(row[k]) for k in ("left", "top", "width", "height"))
            key = row["block_num"], row["par_num"], row["line_num"]
            words[key].append(([left, top, left + width, top + height], text, float(row["conf"]) / 100))
    found = []
    for line in words.values():
        boxes = np.array([box for box, _, _ in line])
        left, top = (int(v / scale) for v in boxes[:, :2].min(axis=0))
        right, bottom = (int(np.ceil(v / scale)) for v in boxes[:, 2:].max(axis=0))
        text = " ".join(word for _, word, _ in line)
        found.append(Line((left, top, right, bottom), text, min(score for _, _, score in line)))
    return found
