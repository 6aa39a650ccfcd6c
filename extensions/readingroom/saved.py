"""Notebooks as they are saved: without pictures, where a project forbids them.

What the server does for those who forget. It holds nobody off who wants to keep a picture: that is for who checks what
leaves the project."""

import base64
from collections.abc import Callable
from typing import Any

from readingroom import settings
from readingroom.errors import BadInput, ReadingRoomError

_KINDS = ("image/", "video/", "audio/", "application/pdf")
_TOLD = "a picture was left out: this project keeps none in saved notebooks"


def kept(static: str | None) -> str:
    """What a saved notebook keeps of a picture: `png` or `none`, as its user says, else as the project allows.

    Raises BadInput for anything else."""
    chosen = static or settings.pictures()
    if chosen not in {"png", "none"}:
        raise BadInput(f"static={chosen!r}: give 'png' to keep a picture in the saved page, or 'none'.")
    return chosen


Bundle = tuple[dict[str, Any], dict[str, Any]]
"""Data and metadata of an output, by MIME type."""


def beside(live: Any, static: str, picture: Callable[[], bytes], words: Callable[[], str]) -> Bundle | None:
    """A live view's output with a still picture (PNG) and its words, for wherever no kernel runs: saved pages and such.

    `live` is what the widget's own `_repr_mimebundle_` gave: data, with metadata or without, or None. `static` is what
    `kept` says. The words are the picture's alternative text, where nbconvert looks for it. A picture that cannot be
    read is replaced by the sentence that says why."""
    if live is None:
        return None
    data, metadata = live if isinstance(live, tuple) else (live, {})
    if static == "none":
        return {**data, "text/plain": words()}, metadata
    try:
        still, text = base64.b64encode(picture()).decode(), words()
    except ReadingRoomError as error:
        return {**data, "text/plain": str(error)}, metadata
    return {**data, "image/png": still, "text/plain": text}, {**metadata, "image/png": {"alt": text}}


def without_pictures(notebook: Any) -> None:
    """Take pictures out of a notebook (nbformat 4), in place: those of outputs, of widgets' states, those pasted into
    texts. Anything that is no such notebook stays as it is."""
    if not isinstance(notebook, dict):
        return
    metadata = notebook.get("metadata")
    if isinstance(metadata, dict):
        metadata.pop("widgets", None)
    for cell in _dicts(notebook.get("cells")):
        attachments = cell.get("attachments")
        if isinstance(attachments, dict):
            for data in attachments.values():
                _clear(data)
        for output in _dicts(cell.get("outputs")):
            _clear(output.get("data"))


def _dicts(found: Any) -> list[dict[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _clear(data: Any) -> None:
    if not isinstance(data, dict):
        return
    pictured = [kind for kind, value in data.items() if kind.startswith(_KINDS) or "data:image" in _text(value)]
    for kind in pictured:
        del data[kind]
    if pictured and not data:
        data["text/plain"] = _TOLD


def _text(value: Any) -> str:
    return "".join(map(str, value)) if isinstance(value, list) else str(value)
