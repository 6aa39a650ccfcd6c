"""Homes, one for each user and project, and the folder that a project's members share: what lies in their vaults.

Both were in clear once, below `homes` and `shared`; what is still there is moved into its vault at the first start."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from readingroom_hub.durable import sync
from readingroom_hub.errors import StoreUnavailable
from readingroom_hub.sandbox.accounts import Account
from readingroom_hub.sandbox.bubblewrap import MIB


def image_maker() -> str | None:
    """mkfs.ext4, where it is installed; root's PATH does not always have /sbin."""
    return shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin:/bin")


def home(vault: Path, clear: Path, account: Account | None, size_mb: int) -> tuple[Path, Path | None]:
    """The home's folder, and the image that is mounted on it where the hub is root: a file system is the one limit that
    nobody can write past. Both are made at first sight; the image is sparse. `clear`: where it lay before there were
    vaults. Raises StoreUnavailable."""
    if account is None:
        return _made(vault / "home", clear, Path.mkdir), None
    owner = account.uid
    image = _made(vault / "home.ext4", clear.with_suffix(".ext4"), lambda fresh: _make_image(fresh, owner, size_mb))
    if clear.is_dir():  # where its image was mounted
        clear.rmdir()
    return vault, image


def project(vault: Path, clear: Path, account: Account | None) -> Path:
    """A project's shared folder; new files in it belong to the project's group. `clear` as above. Raises
    StoreUnavailable."""
    folder = _made(vault / "project", clear, Path.mkdir)
    shared(folder, account)
    return folder


def shared(folder: Path, account: Account | None) -> None:
    """Let the project's members write to its folder. Raises StoreUnavailable."""
    try:
        if account:
            os.chown(folder, 0, account.project_gid)
            folder.chmod(0o2770)
    except OSError as error:
        raise StoreUnavailable(f"the shared folder {folder} cannot be used: {error}") from error


def _made(place: Path, clear: Path, make: Callable[[Path], object]) -> Path:
    """`place`, from what lies in clear or made anew. Under another name first, so that a killed start leaves no half;
    what was in clear is removed once all of it is in the vault and on the disk."""
    fresh, moved = place.with_suffix(".new"), clear.with_name(f"{clear.name}.moved")
    try:
        if place.exists() and clear.exists():
            raise StoreUnavailable(f"{clear} is still there beside the vault that took its place: move it away")
        if not place.exists():
            _remove(fresh)
            if clear.exists() or moved.exists():
                _copy(clear if clear.exists() else moved, fresh)
            else:
                make(fresh)
            if clear.exists():
                clear.rename(moved)  # never two that could be the one
                sync(clear.parent)
            fresh.rename(place)
            sync(place.parent)
        _remove(moved)
    except (OSError, subprocess.CalledProcessError) as error:
        detail = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error
        raise StoreUnavailable(f"{place} cannot be made: {detail}") from error
    return place


def _copy(source: Path, target: Path) -> None:
    # cp(1) keeps owners, times, links and holes.
    _run(["cp", "-a", "--sparse=always", str(source), str(target)])
    _run(["sync", "-f", str(target)])


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _make_image(image: Path, owner: int, size_mb: int) -> None:
    maker = image_maker()
    if maker is None:
        raise StoreUnavailable("mkfs.ext4 is missing: install e2fsprogs, so that homes can have a size limit")
    with image.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.truncate(size_mb * MIB)
    # No reserved blocks: root does not live there.
    _run([maker, "-q", "-F", "-m", "0", "-E", f"root_owner={owner}:{owner},nodiscard", str(image)])


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def used_bytes(folder: Path) -> int:
    """Disk blocks below `folder`, in bytes; what vanishes while it is counted does not count."""
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(root, name)).st_blocks * 512  # noqa: PTH118  # a hot loop
            except FileNotFoundError:
                continue
    return total
