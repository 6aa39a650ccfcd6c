"""The layouts against the C compiler's view of the machine's own <linux/fuse.h>."""

import shutil
import subprocess
from pathlib import Path

import pytest

from readingroom_hub.mount import protocol as p

_SIZES = {
    "fuse_in_header": p.IN_HEADER.size,
    "fuse_out_header": p.OUT_HEADER.size,
    "fuse_init_out": p.INIT_OUT.size,
    "fuse_attr": p.ATTR.size,
    "fuse_entry_out": p.ENTRY_HEAD.size + p.ATTR.size,
    "fuse_attr_out": p.ATTR_HEAD.size + p.ATTR.size,
    "fuse_open_in": p.OPEN_IN.size,
    "fuse_open_out": p.OPEN_OUT.size,
    "fuse_read_in": p.READ_IN.size,
    "fuse_release_in": p.RELEASE_IN.size,
    "fuse_kstatfs": p.KSTATFS.size,
    "fuse_dirent": p.DIRENT_HEAD.size,
    "fuse_notify_inval_inode_out": p.INVAL_INODE_OUT.size,
    "fuse_notify_inval_entry_out": p.INVAL_ENTRY_HEAD.size,
}
_OFFSETS = {
    ("fuse_init_out", "max_pages"): 28,
    ("fuse_attr", "mode"): 60,
    ("fuse_read_in", "size"): 16,
    ("fuse_entry_out", "attr"): p.ENTRY_HEAD.size,
    ("fuse_dirent", "namelen"): 16,
}


@pytest.mark.skipif(
    not shutil.which("gcc") or not Path("/usr/include/linux/fuse.h").exists(), reason="gcc and linux/fuse.h"
)
def test_sizes_numbers_and_offsets_are_those_of_the_header(tmp_path: Path) -> None:
    checks = [f'_Static_assert(sizeof(struct {n}) == {s}, "{n}");' for n, s in _SIZES.items()]
    checks += [f'_Static_assert(offsetof(struct {s}, {f}) == {o}, "{s}.{f}");' for (s, f), o in _OFFSETS.items()]
    checks += [f'_Static_assert(FUSE_{o.name} == {o.value}, "{o.name}");' for o in p.Opcode]
    checks += [f'_Static_assert(FUSE_{f.name} == {f.value}, "{f.name}");' for f in p.InitFlag]
    checks += ['_Static_assert(FOPEN_DIRECT_IO == 1 && FOPEN_KEEP_CACHE == 2, "FOPEN");']
    source = tmp_path / "check.c"
    source.write_text("#include <stddef.h>\n#include <linux/fuse.h>\n" + "\n".join(checks) + "\n")
    done = subprocess.run(["gcc", "-fsyntax-only", str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
