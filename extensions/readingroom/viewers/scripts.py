"""The scripts and styles that widgets bring along."""

from pathlib import Path

STATIC = Path(__file__).with_name("static")
_BUILT = Path(__file__).with_name("built")


def script(name: str) -> str:
    """A widget's module as the browser gets it, built from `browser/NAME.ts` and its imports by `make scripts`."""
    return (_BUILT / f"{name}.js").read_text("utf-8")
