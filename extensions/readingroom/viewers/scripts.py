"""The scripts and styles that widgets bring along, and those that the server has for them."""

import hashlib
from pathlib import Path

STATIC = Path(__file__).with_name("static")
_BUILT = Path(__file__).with_name("built")


def script(name: str) -> str:
    """A widget's module as the browser gets it, built from `browser/NAME.ts` and its imports by `make scripts`."""
    return (_BUILT / f"{name}.js").read_text("utf-8")


def served(name: str) -> str:
    """Where a module that is loaded when it is needed lies below the server's address of JupyterLab's extensions: the
    wheel puts it there, see pyproject.toml. The digest in it makes a browser fetch another version anew."""
    digest = hashlib.sha256((_BUILT / f"{name}.js").read_bytes()).hexdigest()
    return f"readingroom/static/{name}.js?v={digest[:16]}"
