"""The mount daemon as an ordinary user, through fusermount3, in a mount namespace where /dev/fuse is open to all."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.ordinary import LET_GO

_AS_NOBODY = """
import os, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.path.insert(0, sys.argv[1]); sys.dont_write_bytecode = True
from tests.support.mount_process import mount_process
from tests.support.mount_world import read
from readingroom_hub.ports.mounts import CONTENT

def refused(path):
    try:
        read(path)
    except OSError as error:
        return type(error).__name__
    return "read"

with mount_process() as room:
    project = room.project("lung")
    published = room.publish(project, "lung-ct")
    grant = room.grant(project, published.version)
    session = room.session(project)
    folder = room.mounts.attach(session.id)
    for path, plain in published.plain.items():
        assert read(folder / "data/lung-ct" / path) == plain
    folders = room.mounts.open_folders(session.id)
    home, project = folders.home / CONTENT, folders.project / CONTENT
    (home / "finding").write_text("kept")
    room.stop(9)
    print("killed:", refused(folder / "data/lung-ct" / path))
    room.start()
    print("restarted:", refused(folder / "data/lung-ct" / path))
    print("home:", (home / "finding").read_text(), room.mounts.open_folders(session.id) == folders)
    room.revoke(grant)
    room.mounts.refresh()
    print("revoked:", refused(folder / "data/lung-ct" / path))
    room.mounts.detach(session.id)
    print("detached:", home.exists(), project.exists())
    print("stopped:", room.stop(), [x for x in open("/proc/mounts") if str(folder.parents[1]) in x])
"""
_NAMESPACE = f"""
{LET_GO}
mknod -m 666 "$1/fuse" c 10 229 && mount --bind "$1/fuse" /dev/fuse && exec "$2" -W ignore -c "$3" "$4"
"""


@pytest.mark.fuse
@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("fusermount3"), reason="needs root to become nobody, and fusermount3"
)
def test_an_ordinary_user_serves_recovers_and_withdraws(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", _NAMESPACE, "sh", str(tmp_path), sys.executable,
         _AS_NOBODY, root],
        capture_output=True, text=True, timeout=120, check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp"},
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "killed: OSError",
        "restarted: read",
        "home: kept True",
        "revoked: PermissionError",
        "detached: False False",
        "stopped: 0 []",
    ], done.stderr
