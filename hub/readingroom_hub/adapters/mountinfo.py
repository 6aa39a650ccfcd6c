"""What the kernel says of this process's mounts: /proc/self/mountinfo, see proc(5)."""

from pathlib import Path


def above(folder: Path) -> tuple[Path, bool]:
    """The mount that an existing folder lies in, and whether it is a shared one: what is mounted below it is then seen
    in running servers, too."""
    folder = folder.resolve()
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    found = [f for f in lines if folder.is_relative_to(_point(f))]
    last = max(found, key=lambda f: len(f[4]))
    return _point(last), any(f.startswith("shared:") for f in last[6 : last.index("-")])


def _point(fields: list[str]) -> Path:
    return Path(fields[4].encode().decode("unicode_escape"))
