"""Reading Room in the notebook: the untrusted wing. Holds no key, decides nothing."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from readingroom.client import session
    from readingroom.data import dataset, datasets
    from readingroom.viewers import hang, view

__all__ = ["dataset", "datasets", "hang", "session", "view"]

_HOME = {"dataset": "data", "datasets": "data", "hang": "viewers", "session": "client", "view": "viewers"}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: `import readingroom` alone costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'readingroom' has no attribute {name!r}")
    return getattr(importlib.import_module(f"readingroom.{_HOME[name]}"), name)
