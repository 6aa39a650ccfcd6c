"""`python -m readingroom.rerun.sealed --read PATH --write PATH -- COMMAND`: seal this process, then become COMMAND."""

import argparse
import os
from pathlib import Path

from readingroom.rerun import seal


def main() -> None:
    """Seal and exec. Nothing runs unsealed: a failure ends the process, and the kernel never starts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--read", action="append", type=Path, default=[])
    parser.add_argument("--write", action="append", type=Path, default=[])
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    command = asked.command[1:] if asked.command[:1] == ["--"] else asked.command
    seal.refuse_privileges()
    if seal.landlock_abi():
        seal.restrict_files(asked.read, asked.write)
    seal.refuse_network()
    os.execv(command[0], command)  # noqa: S606  the command comes from the rerun, not from a user


if __name__ == "__main__":
    main()
