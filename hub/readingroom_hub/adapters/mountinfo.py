"""What the kernel says of mounts: /proc/<pid>/mountinfo, see proc(5)."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

OURS = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One mount, as its namespace has it."""

    root: str
    """What of its file system is mounted."""
    point: str
    device: int
    tags: list[str]
    """Optional fields: `shared:N`, `master:N`."""
    fstype: str


def mounts(table: Path = OURS) -> Iterator[Mount]:
    """In the order in which they were made. Touches none of them. Raises OSError where the process has ended."""
    for line in os.fsdecode(table.read_bytes()).rstrip("\n").split("\n"):  # a name may hold any other end of a line
        fields, _, tail = line.partition(" - ")
        _, _, device, root, point, _, *tags = fields.split(" ")
        major, minor = device.split(":")
        yield Mount(root, _path(point), os.makedev(int(major), int(minor)), tags, tail.split(" ")[0])


def _path(text: str) -> str:
    """Space, tab, newline and backslash are octal there; all other bytes stand for themselves."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)


def above(folder: Path, table: Path = OURS) -> tuple[Path, bool]:
    """The mount that an existing folder lies in, and whether it is a shared one: what is mounted below it is then seen
    in running servers, too."""
    folder = folder.resolve()
    last = max((m for m in mounts(table) if folder.is_relative_to(m.point)), key=lambda m: len(m.point))
    return Path(last.point), any(tag.startswith("shared:") for tag in last.tags)
