"""The one place of the untrusted wing that reads the environment."""

# ruff: noqa: TID251  this is that place

import os
from pathlib import Path


def data_root() -> Path:
    """The folder with one folder a dataset: READINGROOM_DATA, else /data."""
    return Path(os.environ.get("READINGROOM_DATA", "/data"))


def hub_socket() -> Path:
    """The unix socket of the hub's door: READINGROOM_HUB_SOCKET."""
    return Path(os.environ.get("READINGROOM_HUB_SOCKET", "/run/readingroom/door/hub.sock"))


def pictures() -> str:
    """What a saved notebook keeps of a picture where its user does not say: `png`, or `none` where the project forbids
    them (READINGROOM_PICTURES)."""
    return "none" if os.environ.get("READINGROOM_PICTURES") == "none" else "png"


def search_path() -> str:
    """PATH, for a sealed kernel, which inherits nothing by itself."""
    return os.environ.get("PATH", os.defpath)
