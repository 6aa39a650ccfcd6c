"""What is drawn whole in Python and shown as one picture: the browser asks for it, and the last request counts."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import traitlets

from readingroom import saved
from readingroom.errors import BadInput, ReadingRoomError
from readingroom.files import check_readable
from readingroom.viewers.scripts import STATIC, script


@dataclass(frozen=True, slots=True)
class Control:
    """A slider, and the keys that move it by a step down and up."""

    trait: str
    label: str
    least: float
    most: float
    step: float
    keys: tuple[str, str]
    """As KeyboardEvent.key names them."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture and what a screen reader says for it."""

    mime: str
    data: bytes
    words: str


class Sheet(anywidget.AnyWidget, ipywidgets.DOMWidget):  # type: ignore[misc,unused-ignore]
    """The frame around a drawing. What is drawn travels as a message, never as a trait, so a notebook keeps none of it
    but the still picture; static="none" keeps not even that."""

    _esm = script("sheet")
    _css = STATIC / "sheet.css"

    about = traitlets.Dict(read_only=True, help="Title and controls.").tag(sync=True)

    def __init__(self, title: str, paths: Sequence[Path], dataset: str, controls: list[Control], **traits: Any) -> None:
        """`paths`: the files that are shown; they are in memory, and shown for as long as they may be read."""
        self._paths, self._dataset = list(paths), dataset
        self._static = saved.kept(traits.pop("static", None))
        self._controls = {control.trait: control for control in controls if control.most > control.least}
        unknown = set(traits) - {control.trait for control in controls} - {"layout"}
        if unknown:
            raise BadInput(
                f"This view has no {', '.join(sorted(unknown))}: it has {', '.join(c.trait for c in controls)}."
            )
        super().__init__(**traits)
        shown = [{name: getattr(control, name) for name in Control.__slots__} for control in self._controls.values()]
        self.set_trait("about", {"title": title, "controls": shown})
        self.on_msg(self._answer)

    def draw(self, dark: bool = False) -> Drawing:
        """The picture as its traits say. Raises AccessEnded, Damaged, NotFound."""
        self.check()
        return self._draw({trait: getattr(self, trait) for trait in self._controls}, dark)

    def check(self) -> None:
        """Raise AccessEnded or NotFound where what is shown may not be read any more. Reads no file."""
        for folder in {path.parent for path in self._paths}:
            check_readable(folder, self._dataset)

    def _draw(self, at: Mapping[str, Any], dark: bool) -> Drawing:
        """The picture at these values of its controls; a control that has nothing to choose from is left out."""
        raise NotImplementedError

    def _answer(self, _widget: Any, content: Any, _buffers: Any) -> None:
        kind, n = (content.get("k"), content.get("n")) if isinstance(content, dict) else (None, None)
        try:
            if kind in {"draw", "still"}:
                self.check()
            drawn = self._draw(self._asked(content.get("at")), bool(content.get("dark"))) if kind == "draw" else None
        except ReadingRoomError as error:
            self.send({"k": "error", "n": n, "text": str(error)})
            return
        if drawn:
            self.send({"k": "drawn", "n": n, "mime": drawn.mime, "text": drawn.words}, [drawn.data])

    def _asked(self, at: Any) -> dict[str, Any]:
        """A request says itself what it is for: traits travel more slowly than messages, and may come after it."""
        said = at if isinstance(at, dict) else {}
        asked = {}
        for trait, control in self._controls.items():
            now, value = getattr(self, trait), said.get(trait)
            if isinstance(value, (int, float)) and math.isfinite(value):
                asked[trait] = type(now)(min(max(value, control.least), control.most))
            else:
                asked[trait] = now
        return asked

    def _within(self, proposal: Any) -> Any:
        """A trait's value, kept within its control."""
        control = self._controls.get(proposal["trait"].name)
        return proposal["value"] if control is None else min(max(proposal["value"], control.least), control.most)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        try:
            drawn = self.draw()
        except ReadingRoomError as error:
            return {**data, "text/plain": str(error)}, metadata
        still: dict[str, str] = {"text/plain": drawn.words}
        if self._static == "png":
            text = drawn.mime == "image/svg+xml"
            still[drawn.mime] = drawn.data.decode() if text else base64.b64encode(drawn.data).decode()
            metadata = {**metadata, drawn.mime: {"alt": drawn.words}}
        return {**data, **still}, metadata
