"""An IPython extension: a read below /data that is refused ends its cell with one sentence, not with a page of frames.

So does the use of a home or project folder that was lost. The cell still fails, so notebooks that run unattended stop
there; `%tb` shows the frames."""

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
_LOST = frozenset({errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.EROFS})
"""What a file in the home or the project's folder may end with whose view was lost."""
_FOLDERS = ("Your home folder ", "The project's folder ")
"""How the mount's notice begins to tell of it."""
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
    """What to tell instead of the frames; None where the error is none of a read below /data or of a lost folder."""
    if isinstance(error, ReadingRoomError):
        return str(error)
    if not isinstance(error, OSError) or error.errno not in _OURS | _LOST:
        return None
    if error.filename is None:  # of a file that was open before
        open_before = error.errno in _OPEN_BEFORE
        return _lost(error, data) or (str(explained(error, data, "a dataset that was open")) if open_before else None)
    try:
        path = Path(error.filename).absolute()
        below = path.resolve().relative_to(data.resolve())
    except (OSError, TypeError, ValueError, RuntimeError):
        return _lost(error, data)
    dataset = below.parts[0] if below.parts else "/data"
    return f"{explained(error, path, dataset)}{_reason(data, dataset)}"


def _lost(error: OSError, data: Path) -> str | None:
    told = [line for line in _notice(data) if any(f in line for f in _FOLDERS)] if error.errno in _LOST else []
    what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{what}. Open the file again; where that does not help, restart this kernel.\n{told[-1]}" if told else None


def _reason(data: Path, dataset: str) -> str:
    """The last thing that the mount's own notice says of it."""
    told = [line for line in _notice(data) if dataset in line and not line.startswith(f"/data/{dataset} ")]
    return f"\n{told[-1]}" if told else ""


def _notice(data: Path) -> list[str]:
    try:
        return [line.strip() for line in (data / "README.txt").read_text("utf-8").splitlines()]
    except (OSError, ValueError):
        return []
