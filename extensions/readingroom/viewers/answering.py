"""The part of a view that answers its browser: slices, a few in one message, and whether they may be shown still."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from readingroom import settings
from readingroom.errors import AccessEnded, BadInput, NotFound, ReadingRoomError
from readingroom.files import check_readable
from readingroom.planes import Stored
from readingroom.viewers import overlay as layers
from readingroom.viewers.annotated import Annotated
from readingroom.viewers.colours import Coloured
from readingroom.viewers.histogram import Charted
from readingroom.viewers.layered import Layered
from readingroom.viewers.pictures import FramePictures
from readingroom.viewers.presented import PresentedPictures
from readingroom.viewers.wire import packed

# An answer holds as many of the slices that were asked for as fit: a message costs the browser more than a slice does,
# and what the browser wishes for next waits until the answer is out.
_ANSWER_SECONDS = 0.03
_ANSWER_BYTES = 2 << 20
# Deflated for a slow line, which needs longer for it than the kernel.
_SLOW_ANSWER_BYTES = 128 << 10


class Answering(Annotated, Layered, Coloured, Charted):
    """What is asked for in messages `k`: get, still, where, draw, brush."""

    # ipykernel runs comm handlers on other threads than cells; the decoders are not all made for that.
    _lock: threading.Lock
    # A slice that was read a moment ago and is needed once more.
    _at_hand: tuple[int, Stored] | None

    # The browser always pulls: what Python sends before a view is up is lost.
    def _answer(self, _widget: Any, content: Any, _buffers: Any) -> None:
        if not isinstance(content, dict):
            return
        try:
            self._do(content)
        except ReadingRoomError as error:
            self._refuse(content, str(error))
        except Exception as error:
            # Who waits is told; all of it is for the kernel's log.
            self._refuse(
                content, f"This failed, by an error of the viewer ({type(error).__name__}): tell the operator."
            )
            raise

    def _do(self, content: dict[str, Any]) -> None:
        kind = content.get("k")
        if kind == "draw":
            self._draw(content)
        elif kind == "brush":
            self._brush(content)
        elif kind == "where":
            self.send({"k": "where", "n": content.get("n"), "files": self._files()})
        elif kind == "still":
            self._answer_still(content.get("n"))
        elif kind == "get":
            self._answer_slices([int(z) for z in content["z"]], content.get("n"), deflate=bool(content.get("deflate")))

    def _refuse(self, content: dict[str, Any], text: str) -> None:
        kind = "refused" if content.get("k") in {"draw", "brush"} else "error"
        self.send({"k": kind, "n": content.get("n"), "text": text})

    def _answer_slices(self, wanted: Sequence[int], number: Any, *, deflate: bool) -> None:
        """Send the first of the slices, and of the others, in their order, as many as fit into one answer. `fits` says
        how many would, for the next question; what is left out may be asked for again, or not wished for any more."""
        told, buffers = list[dict[str, Any]](), list[Any]()
        bytes_held = _SLOW_ANSWER_BYTES if deflate else _ANSWER_BYTES
        start, size, worked, share = time.monotonic(), 0, 0.0, 0.0
        for index in wanted:
            try:
                head, more = self._slice(index, deflate=deflate)
            except AccessEnded as error:
                self.send({"k": "error", "n": number, "text": str(error), "ended": True})
                return
            except ReadingRoomError as error:
                head, more = {"k": "error", "z": index, "text": str(error)}, []
            except Exception:
                # An error of the viewer is the answer to a question of its own.
                if told:
                    break
                raise
            told.append({**head, "buffers": len(more)})
            buffers += more
            size += sum(len(one) for one in more)
            worked = time.monotonic() - start
            share = max(size / bytes_held, worked / _ANSWER_SECONDS)
            if share >= 1:
                break
        fits = max(int(len(told) / share), 1) if share else 1
        head = {"k": "slices", "n": number, "slices": told, "fits": fits}
        self.send(head, buffers)

    def _slice(self, index: int, *, deflate: bool) -> tuple[dict[str, Any], list[Any]]:
        """The head and the buffers of one slice with all that lies over it. Raises as Pictures.stored does."""
        if self._about.held:
            # A volume in memory, too, is shown for as long as its files may be read.
            self.check()
        stored = self._at(index)
        labels = layers.labels_at(self._layers, index)
        codes = self._dose_codes(index)
        head, buffers, luts = packed(stored, index, deflate=deflate)
        if labels is not None:
            weights = layers.weights_at(self._layers, labels, index)
            head |= {"labelled": True, "weighted": weights is not None}
            buffers += [one.data.cast("B") for one in (labels, weights) if one is not None]
        if lines := self._contours(index):
            head["contours"] = [[number, np.round(line, 3).tolist()] for number, line in lines]
        if isinstance(self._pictures, PresentedPictures):
            head |= {"graphics": self._pictures.graphics(index), "texts": self._pictures.texts(index)}
        buffers += luts
        if codes is not None:
            head["dosed"] = True
            buffers.append(np.ascontiguousarray(codes, "<u2").data.cast("B"))
        return head, buffers

    def _files(self) -> list[tuple[str, int]]:
        """Where below /data each picture lies, and its frame: for a source that can do without the kernel."""
        if not isinstance(self._pictures, FramePictures):
            return []
        root = settings.data_root().absolute()
        try:
            return [
                (one.path.absolute().relative_to(root).as_posix(), one.frame) for one in self._pictures.frames.planes
            ]
        except ValueError:
            return []

    def _answer_still(self, number: Any) -> None:
        try:
            self.check()
        except ReadingRoomError as error:
            # A folder that was there and is not: what it held is not shown any longer either.
            ended = isinstance(error, (AccessEnded, NotFound))
            self.send({"k": "error", "n": number, "text": str(error), "ended": ended})
        else:
            self.send({"k": "still", "n": number})

    def check(self) -> None:
        """Raise AccessEnded or NotFound where something that is shown may not be read any more. Reads no file."""
        for folder, dataset in self._folders.items():
            check_readable(folder, dataset)

    def _at(self, index: int) -> Stored:
        if not 0 <= index < self._about.count:
            raise BadInput(f"There is no slice {index + 1}: the view has {self._about.count}.")
        at_hand = self._at_hand
        if at_hand and at_hand[0] == index:
            return at_hand[1]
        with self._lock:
            stored = self._pictures.stored(index)
        self._remember(index, stored)
        return stored
