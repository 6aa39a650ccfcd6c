"""Homes, one for each user and project, and the folder that a project's members share: what lies in their vaults.

Both were in clear once, below `homes` and `shared`; what is still there is moved into its vault at the first start."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from readingroom_hub.durable import sync
from readingroom_hub.errors import IntegrityError, StoreUnavailable
from readingroom_hub.ports.mounts import CONTENT, HOME_IMAGE
from readingroom_hub.sandbox.accounts import Account
from readingroom_hub.sandbox.bubblewrap import MIB


def image_maker() -> str | None:
    """mkfs.ext4, where it is installed; root's PATH does not always have /sbin."""
    return shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin:/bin")


def home(vault: Path, clear: Path, account: Account | None, size_mb: int) -> Path | None:
    """Make the home at first sight: where the hub is root, a sparse image, since a file system is the one limit that
    nobody can write past; otherwise a folder, and the folder to measure is returned. `vault`: the outer folder of an
    open one. `clear`: where the home lay before there were vaults. Raises StoreUnavailable, IntegrityError."""
    if account is None:
        _made(vault / CONTENT / "home", clear, Path.mkdir)
        return (vault / CONTENT).parent  # all of the view: its server sees all of it
    owner = account.uid
    _made(vault / CONTENT / HOME_IMAGE, clear.with_suffix(".ext4"), lambda fresh: _make_image(fresh, owner, size_mb))
    if clear.is_dir():  # where its image was mounted
        clear.rmdir()
    return None


def project(vault: Path, clear: Path, account: Account | None) -> None:
    """Make a project's shared folder at first sight; new files in it belong to the project's group. Arguments and
    errors as above."""
    shared(_made(vault / CONTENT / "project", clear, Path.mkdir), account)


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
    if place.is_symlink():  # put there by a program in a server, and it may lead anywhere
        raise IntegrityError(f"{place} is a link where a folder was: remove it, or bring the folder back")
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
    if path.is_dir() and not path.is_symlink():
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
    """Disk blocks below `folder`, in bytes; what vanishes while it is counted, the view itself too, does not count."""
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(root, name)).st_blocks * 512  # noqa: PTH118  # a hot loop
            except OSError:
                continue
    return total
