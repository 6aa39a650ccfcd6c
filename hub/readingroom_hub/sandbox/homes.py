"""Homes, one for each user and project, and the folder that a project's members share."""

import os
import shutil
import subprocess
from pathlib import Path

from readingroom_hub.config import Paths
from readingroom_hub.errors import StoreUnavailable
from readingroom_hub.model.ids import ProjectId
from readingroom_hub.sandbox.accounts import Account
from readingroom_hub.sandbox.bubblewrap import MIB


def image_maker() -> str | None:
    """mkfs.ext4, where it is installed; root's PATH does not always have /sbin."""
    return shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin:/bin")


def home(
    paths: Paths, user: str, project: ProjectId, account: Account | None, size_mb: int
) -> tuple[Path, Path | None]:
    """The home's folder, and the image that is mounted on it where the hub is root: a file system is the one limit that
    nobody can write past. Both are made at first sight; the image is sparse. Raises StoreUnavailable."""
    folder = paths.homes / user / project
    try:
        _make(folder, account.uid if account else None)
        if account is None:
            return folder, None
        image = folder.with_suffix(".ext4")
        if not image.exists():
            _make_image(image, account, size_mb)
    except (OSError, subprocess.CalledProcessError) as error:
        detail = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error
        raise StoreUnavailable(f"the home {folder} cannot be made: {detail}") from error
    else:
        return folder, image


def _make(folder: Path, owner: int | None) -> None:
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if owner is not None:
        os.chown(folder, owner, owner)


def _make_image(image: Path, account: Account, size_mb: int) -> None:
    maker = image_maker()
    if maker is None:
        raise StoreUnavailable("mkfs.ext4 is missing: install e2fsprogs, so that homes can have a size limit")
    fresh = image.with_suffix(".new")
    with fresh.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.truncate(size_mb * MIB)
    # No reserved blocks: root does not live there. Made under another name, so a killed mkfs leaves no broken home.
    owner = f"root_owner={account.uid}:{account.uid},nodiscard"
    subprocess.run([maker, "-q", "-F", "-m", "0", "-E", owner, str(fresh)], check=True, capture_output=True, text=True)
    fresh.replace(image)


def shared(paths: Paths, project: ProjectId, account: Account | None) -> Path:
    """A project's shared folder; new files in it belong to the project's group. Raises StoreUnavailable."""
    folder = paths.shared / project
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if account:
            os.chown(folder, 0, account.project_gid)
            folder.chmod(0o2770)
    except OSError as error:
        raise StoreUnavailable(f"the shared folder {folder} cannot be made: {error}") from error
    return folder


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
