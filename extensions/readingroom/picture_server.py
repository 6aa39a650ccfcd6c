"""A Jupyter server extension that gives the series viewer its pictures over HTTP, where a busy kernel cannot.

It reads below /data as its user's server, so each look is decided and recorded as any other; it holds nothing. What the
browser gets is what the kernel would have sent (viewers/wire.py)."""

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from readingroom import settings
from readingroom.errors import AccessEnded, BadInput, NotFound, NotNow, ReadingRoomError
from readingroom.files import check_readable
from readingroom.planes import decode, read_header
from readingroom.viewers.wire import in_one, packed

# The decoders are not all made for several threads.
_LOCK = threading.Lock()
_STATUS: tuple[tuple[type[ReadingRoomError], int], ...] = (
    (AccessEnded, 403), (NotFound, 410), (BadInput, 400), (NotNow, 429),
)  # fmt: skip


def file_below(root: Path, asked: str) -> Path:
    """The image that `asked` (relative to `root`, with /) names. Raises BadInput for anything but an image below it:
    no other files, no way out by `..` or by a link."""
    parts = asked.split("/")
    odd = any(part in {"", ".", ".."} or "\\" in part or not part.isprintable() for part in parts)
    if odd or len(parts) < 2 or not asked.endswith(".dcm"):
        raise BadInput("This is no name of an image below /data.")
    path = root.joinpath(*parts)
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        raise BadInput("This is no name of an image below /data.")
    return path


def picture(root: Path, asked: str, frame: int, *, deflate: bool) -> bytes:
    """One frame of an image as viewers.wire.in_one says. Raises BadInput, AccessEnded, Damaged, NotFound, NotNow."""
    path = file_below(root, asked)
    dataset = asked.split("/", maxsplit=1)[0]
    with _LOCK:
        planes = read_header(path, dataset).planes
        if not 0 <= frame < len(planes):
            raise BadInput(f"{path.name} of {dataset} has no frame {frame}.")
        head, pixels, luts = packed(decode(planes[frame]), frame, deflate=deflate)
    return in_one(head, [*pixels, *luts])


def check(root: Path, asked: str) -> bytes:
    """Nothing, where the folder of an image may still be read; reads no file. Raises as `picture` does."""
    check_readable(file_below(root, asked).parent, asked.split("/", maxsplit=1)[0])
    return b""


class PictureHandler(APIHandler):  # type: ignore[misc,unused-ignore]
    """GET readingroom/picture?file=DATASET/.../IMAGE.dcm&frame=N&deflate=1; without `frame`, whether it may be read."""

    @web.authenticated  # type: ignore[untyped-decorator,unused-ignore]
    async def get(self) -> None:
        """Answer with bytes, or with a status and a sentence as JSON."""
        root, asked = settings.data_root(), self.get_query_argument("file", "")
        frame = self.get_query_argument("frame", "")
        try:
            if frame and not frame.isdecimal():
                raise BadInput("A frame is named by its number, from 0.")
            deflate = self.get_query_argument("deflate", "") == "1"
            body = await (
                asyncio.to_thread(picture, root, asked, int(frame), deflate=deflate)
                if frame
                else asyncio.to_thread(check, root, asked)
            )
        except ReadingRoomError as error:
            self.set_status(next((code for kind, code in _STATUS if isinstance(error, kind)), 500))
            ended = isinstance(error, (AccessEnded, NotFound))
            self.finish({"text": str(error), "ended": ended})
            return
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Cache-Control", "no-store")
        self.finish(body)


def _load_jupyter_server_extension(app: Any) -> None:
    """What Jupyter Server calls."""
    pattern = url_path_join(app.web_app.settings["base_url"], "readingroom", "picture")
    app.web_app.add_handlers(".*$", [(pattern, PictureHandler)])
