"""The scripts and styles that widgets bring along."""

from pathlib import Path

STATIC = Path(__file__).with_name("static")


def script(*names: str) -> str:
    """Several files as one module, after what all of them use: the browser gets it whole."""
    return "\n".join((STATIC / name).read_text("utf-8") for name in ("page.js", *names))
