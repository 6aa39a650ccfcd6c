"""An IPython extension: a read below /data that is refused ends its cell with one sentence, not with a page of frames.

The cell still fails, so notebooks that run unattended stop there; `%tb` shows the frames."""

import errno
import sys
from pathlib import Path
from types import TracebackType

from IPython.core.interactiveshell import InteractiveShell

from readingroom.errors import ReadingRoomError
from readingroom.files import explained

DATA = Path("/data")
_OPEN_BEFORE = frozenset({errno.EACCES, errno.EIO, errno.ETIMEDOUT})
"""What a read of a file that was open before may end with."""
_OURS = _OPEN_BEFORE | {errno.EPERM, errno.EAGAIN, errno.ENOTCONN, errno.EMFILE, errno.EDQUOT}
_MORE = "%tb shows where in the code."


def load_ipython_extension(shell: InteractiveShell) -> None:
    """What IPython calls."""
    shell.set_custom_exc((OSError, ReadingRoomError), _show)  # type: ignore[no-untyped-call]


def _show(
    shell: InteractiveShell,
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,
    tb_offset: int | None = None,
) -> None:
    said = sentence(error)
    sys.last_type, sys.last_value, sys.last_traceback = kind, error, trace  # for %tb
    if said is None:
        shell.showtraceback((kind, error, trace), tb_offset=tb_offset)
    else:
        shell._showtraceback(kind, error, [said, _MORE])  # noqa: SLF001  # what IPython's documents tell to call


def sentence(error: BaseException, data: Path = DATA) -> str | None:
    """What to tell instead of the frames; None where the error is none of a read below /data."""
    if isinstance(error, ReadingRoomError):
        return str(error)
    if not isinstance(error, OSError) or error.errno not in _OURS:
        return None
    if error.filename is None:  # of a file that was open before
        return str(explained(error, data, "a dataset that was open")) if error.errno in _OPEN_BEFORE else None
    try:
        path = Path(error.filename).absolute()
        below = path.resolve().relative_to(data.resolve())
    except (OSError, TypeError, ValueError, RuntimeError):
        return None
    dataset = below.parts[0] if below.parts else "/data"
    return f"{explained(error, path, dataset)}{_reason(data, dataset)}"


def _reason(data: Path, dataset: str) -> str:
    """The last thing that the mount's own notice says of it."""
    try:
        lines = (data / "README.txt").read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return ""
    told = [line.strip() for line in lines if dataset in line and not line.startswith(f"/data/{dataset} ")]
    return f"\n{told[-1]}" if told else ""
