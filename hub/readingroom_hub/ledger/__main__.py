"""The offline verifier: `python -m readingroom_hub.ledger BUNDLE --policy FILE`. Needs `cryptography` and this folder.

Exit code 0: whole. 1: findings, the first bad record first. 2: a file that cannot be used."""

import argparse
import sys
import time
from pathlib import Path

from readingroom_hub.errors import BadInput
from readingroom_hub.ledger.note import printable
from readingroom_hub.ledger.policy import Policy
from readingroom_hub.ledger.proof import verify_file


def main(argv: list[str] | None = None) -> int:
    """Verify one bundle or proof; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m readingroom_hub.ledger", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--policy", type=Path, required=True, help="whom you trust, a C2SP tlog-policy file")
    parser.add_argument("--kept", type=Path, action="append", default=[], help="a checkpoint that you kept")
    given = parser.parse_args(argv)
    try:
        policy = Policy.parse(given.policy.read_text())
        kept = [path.read_text() for path in given.kept]
        with given.bundle.open("rb") as file:
            result = verify_file(file, policy, int(time.time()), kept)
    except (BadInput, OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"{printable(str(error))}\n")
        return 2
    for finding in result.findings:
        sys.stderr.write(f"FAILED: {printable(str(finding))}\n")
    if not result.findings:
        sys.stdout.write(f"{printable(result.summary())}\n")
    return 1 if result.findings else 0


if __name__ == "__main__":
    sys.exit(main())
