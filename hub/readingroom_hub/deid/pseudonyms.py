"""What stands for a patient: a keyed pseudonym and, for modified dates, a keyed shift in whole days (PS3.15 E.3.6)."""

import hmac
from datetime import date, timedelta

_MAX_SHIFT = 3650


class Pseudonyms:
    """The same patient gives the same values under one key, and unlinkable ones under another."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"patient", "sha256")

    def patient(self, id: str) -> str:
        """A stand-in for PatientID and PatientName: `P-` and 16 hexadecimal digits."""
        return "P-" + self._hash("id", id).hex()[:16].upper()

    def days(self, id: str) -> int:
        """By how many days this patient's dates go back: 1 to 3650."""
        return 1 + int.from_bytes(self._hash("days", id)[:8]) % _MAX_SHIFT

    def _hash(self, what: str, id: str) -> bytes:
        return hmac.digest(self._key, f"{what}\0{id.strip(' ' + chr(0))}".encode(errors="surrogateescape"), "sha256")


def shift(text: str, days: int) -> str | None:
    """A DA or DT value `days` earlier, time of day and zone kept; None where it is no full valid date (PS3.5 6.2)."""
    head = text.replace(".", "") if len(text) == 10 and text[4::3] == ".." else text  # yyyy.mm.dd of ACR-NEMA
    try:
        day = date(int(head[:4]), int(head[4:6]), int(head[6:8])) - timedelta(days)
    except (ValueError, OverflowError):
        return None
    return f"{day:%Y%m%d}".rjust(8, "0") + head[8:]
