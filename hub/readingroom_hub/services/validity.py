"""Whether an object is as valid as its original, by dciodvfy of dicom3tools (David Clunie), where it is installed."""

import shutil
import subprocess

from readingroom_hub.errors import BadInput

_SECONDS = 120


def program() -> str:
    """Where dciodvfy is. Raises BadInput where it is not installed."""
    found = shutil.which("dciodvfy")
    if found is None:
        raise BadInput("dciodvfy is not installed: install dicom3tools, or leave this check out")
    return found


def more_errors(program: str, before: bytes, after: bytes) -> int:
    """How many errors `program` finds in `after` beyond those in `before`. Raises OSError where it fails."""
    return max(0, _errors(program, after) - _errors(program, before))


def _errors(program: str, data: bytes) -> int:
    """Objects go through a pipe: no identified byte is written anywhere."""
    try:
        done = subprocess.run([program], input=data, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise OSError(None, "dciodvfy did not end") from error
    if done.returncode < 0:
        raise OSError(None, "dciodvfy died")
    return sum(line.startswith(b"Error") for line in (done.stderr + done.stdout).splitlines())
