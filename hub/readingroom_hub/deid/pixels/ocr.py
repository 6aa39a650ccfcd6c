"""Text in images, by PP-OCRv6 as RapidOCR packs it: models from its wheel, no network."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from readingroom_hub.deid.pixels.stored import Box, Pixels

_FIRST_SIDE, _SECOND_SIDE, _LARGER = 1280, 1600, 2.0


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text as it was read."""

    box: Box
    text: str
    score: float
    """How sure the recogniser is, 0 to 1."""


@lru_cache(maxsize=1)
def _engine() -> Any:
    """Models are loaded once a process. One thread: the ingest runs one process a core."""
    from rapidocr import RapidOCR

    return RapidOCR(
        params={
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            "Global.log_level": "critical",  # its warnings are about images without text
            "Global.use_cls": False,
            "Global.text_score": 0.0,  # what is hard to read is for the verdict to weigh
            "Det.box_thresh": 0.4,
        }
    )


def lines(image: Pixels) -> list[Line]:
    """Every line of text in an 8-bit RGB image (rows, columns, 3)."""
    return _read(np.ascontiguousarray(image[..., ::-1]), 1.0, _FIRST_SIDE)


def lines_again(image: Pixels) -> list[Line]:
    """The second look, over other pixels and at another scale: grey, contrast raised place by place, inverted."""
    import cv2

    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    grey = 255 - cv2.createCLAHE(clipLimit=3.0, tileGridSize=(8, 8)).apply(grey)
    scale = min(_LARGER, max(1.0, _SECOND_SIDE / max(grey.shape)))
    if scale > 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return _read(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), scale, _SECOND_SIDE)


def _read(image: Pixels, scale: float, side: int) -> list[Line]:
    engine = _engine()
    engine.max_side_len = side
    found = engine(image)
    if getattr(found, "boxes", None) is None or getattr(found, "txts", None) is None:
        return []
    result = []
    for corners, text, score in zip(found.boxes, found.txts, found.scores, strict=True):
        (left, top), (right, bottom) = corners.min(axis=0) / scale, corners.max(axis=0) / scale
        box = int(left), int(top), int(np.ceil(right)), int(np.ceil(bottom))
        result.append(Line(box, str(text), float(score)))
    return result
