"""Mount tables as proc(5) describes them, with every kind of name that a folder may have."""

import os
from pathlib import Path

import pytest

from readingroom_hub.adapters.mountinfo import Mount, above, mounts

LINE = "36 35 98:1 /part {point} rw,noatime {tags}- {fstype} /dev/sda rw\n"


def table(tmp_path, *lines):
    made = tmp_path / "mountinfo"
    made.write_bytes(b"".join(lines))
    return made


def line(point, tags="", fstype="ext4"):
    return LINE.format(point="{}", tags=tags, fstype=fstype).encode().replace(b"{}", point)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (b"/srv/state", "/srv/state"),
        (rb"/srv/a\040b\011c\012d\134e", "/srv/a b\tc\nd\\e"),
        ("/srv/État/研究\r\u2028".encode(), "/srv/État/研究\r\u2028"),
        (b"/srv/\xe9tat", os.fsdecode(b"/srv/\xe9tat")),
        (rb"/srv/\134040", r"/srv/\040"),
    ],
)
def test_a_mount_point_is_the_path_that_it_has(tmp_path, written, name):
    found = list(mounts(table(tmp_path, line(written, "shared:7 master:3 ", "fuse.gocryptfs"))))
    assert found == [Mount("/part", name, os.makedev(98, 1), ["shared:7", "master:3"], "fuse.gocryptfs")]


def test_the_nearest_mount_above_says_whether_it_is_shared(tmp_path):
    folder = tmp_path / "état" / "vaults"
    folder.mkdir(parents=True)
    top = os.fsencode(tmp_path)
    lines = [line(b"/", "shared:1 "), line(os.fsencode(tmp_path / "état"))]
    assert above(folder, table(tmp_path, *lines)) == (tmp_path / "état", False)
    assert above(folder, table(tmp_path, lines[0], line(top, "shared:2 "))) == (tmp_path, True)
    assert above(folder, table(tmp_path, lines[0], line(os.fsencode(folder) + b"-beside"))) == (Path("/"), True)
