"""Programs as an ordinary user, started by root, on a machine where /dev/fuse is open to all."""

from collections.abc import Sequence
from pathlib import Path

LET_GO = "awk '$0 ~ / - fuse/ { print $5 }' /proc/self/mountinfo | xargs -r umount -l || true"
"""Shell, to begin a private mount namespace with: a copy of another test's mount would keep that from ending."""
_NAMESPACE = f"""
set -e
{LET_GO}
mount --make-r"$1" /
mknod -m 666 "$2/fuse" c 10 229
mount --bind "$2/fuse" /dev/fuse
{{ cat /etc/passwd; echo "ordinary:x:$3:$3::/:/bin/sh"; }} > "$2/passwd"
mount --bind "$2/passwd" /etc/passwd  # fusermount3 wants everybody to have a name
uid=$3
shift 3
exec setpriv --reuid "$uid" --regid "$uid" --clear-groups "$@"
"""


def as_ordinary(uid: int, folder: Path, program: Sequence[str], *, shared: bool = False) -> list[str]:
    """The command line. `folder`: for the device and the user's name. `shared`: mounts made later reach namespaces made
    before, as on a machine with systemd."""
    kind = "shared" if shared else "private"
    return [
        "unshare", "--mount", "--propagation", "private", "sh", "-c", _NAMESPACE, "sh", kind, str(folder), str(uid),
        *program,
    ]  # fmt: skip
