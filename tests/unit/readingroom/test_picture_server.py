"""Pictures over HTTP: the kernel's own bytes, of images below /data and of nothing else."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.dicom_series import ct, phantom, write_series

from readingroom.errors import BadInput, NotFound, ReadingRoomError
from readingroom.picture_server import check, file_below, picture
from readingroom.server import SocketServerApp
from readingroom.viewers import view
from readingroom.volume import Frames


def parts(body):
    (length,) = struct.unpack("<I", body[:4])
    head, rest, buffers = json.loads(body[4 : 4 + length]), body[4 + length :], []
    for size in head.pop("sizes"):
        buffers.append(rest[:size])
        rest = rest[size:]
    assert rest == b""
    return head, buffers


@pytest.mark.parametrize("deflate", [False, True])
def test_the_bytes_are_the_kernel_s_own(tmp_path, monkeypatch, deflate):
    folder = write_series(tmp_path, "d", list(ct(phantom(3))))
    monkeypatch.setenv("READINGROOM_DATA", str(tmp_path))
    shown = view(Frames.of_files(sorted(folder.glob("*.dcm")), "d"))
    sent = []
    monkeypatch.setattr(shown, "send", lambda head, buffers=None: sent.append((head, buffers)))
    shown._answer(shown, {"k": "where", "n": 1}, [])
    for index, (file, frame) in enumerate(sent.pop()[0]["files"]):
        told, kernel = shown._slice(index, deflate=deflate)
        head, buffers = parts(picture(tmp_path, file, frame, deflate=deflate))
        assert {**head, "z": index} == told
        assert head.get("deflated", False) is deflate
        assert [bytes(one) for one in kernel] == buffers


def test_nothing_else_is_read(tmp_path):
    root = tmp_path / "data"
    folder = write_series(root, "d", list(ct(phantom(1))))
    (image,) = folder.glob("*.dcm")
    name = image.relative_to(root).as_posix()
    secret = tmp_path / "secret.dcm"
    secret.write_bytes(image.read_bytes())
    (folder / "link.dcm").symlink_to(secret)
    (root / "out").symlink_to(tmp_path)
    for odd in (
        "", "d", "/etc/passwd", "d/../../secret.dcm", "../secret.dcm", "d/%2e%2e/secret.dcm", f"/{image}", "d//x.dcm",
        "d/./x.dcm", f"{folder.relative_to(root)}/link.dcm", "out/secret.dcm", "d/x.dcm\0", "d\\..\\x.dcm",
        f"{name[:-4]}", "d/dataset.json",
    ):  # fmt: skip
        with pytest.raises((BadInput, NotFound)):
            picture(root, odd, 0, deflate=False)
        with pytest.raises((BadInput, NotFound)):
            check(root, odd)
    assert check(root, name) == b""
    with pytest.raises(BadInput, match="no frame 1"):
        picture(root, name, 1, deflate=False)
    assert np.frombuffer(parts(picture(root, name, 0, deflate=False))[1][0], "<u2").size == 64 * 48


@given(st.text(alphabet="./\\ad%2e\0\n", max_size=20))
def test_no_name_leads_out(tmp_path_factory, asked):
    root = tmp_path_factory.getbasetemp() / "root"
    try:
        path = file_below(root, asked + ".dcm")
    except ReadingRoomError:
        return
    assert path.resolve().is_relative_to(root.resolve())
    assert ".." not in path.parts


def test_the_researcher_s_server_has_it():
    app = SocketServerApp()
    app.find_server_extensions()
    assert app.jpserver_extensions["readingroom.picture_server"] is True
    assert app.jpserver_extensions["jupyterlab"] is True
