"""Where a log lies: in a file of its folder, or in the PostgreSQL database that `log.url` there names.

The folder decides and not the setting, so that repository, feeds, monitor and verifier can only look at one log."""

from pathlib import Path

from readingroom_hub.adapters.audit_log import LOG_FILE, AuditLog, LogReader
from readingroom_hub.adapters.audit_writer import LogWriter
from readingroom_hub.durable import whole_file
from readingroom_hub.errors import Conflict, IntegrityError
from readingroom_hub.ledger.note import Signer
from readingroom_hub.ports.log import IndexedLog

URL_FILE = "log.url"
VKEY_FILE = "vkey"


def log_place(folder: Path) -> Path | None:
    """The file that is the log of `folder`, or that names its database; None where there is no log yet."""
    return next((p for p in (folder / URL_FILE, folder / LOG_FILE) if p.exists()), None)


def read_log(folder: Path) -> IndexedLog:
    """A view of the log of `folder`. Raises IntegrityError where there is none to read, AuditUnavailable."""
    place = log_place(folder)
    if place is None or place.name == LOG_FILE:
        return LogReader(folder / LOG_FILE)
    from readingroom_hub.adapters.audit_log_postgres import PostgresLogReader

    return PostgresLogReader(place.read_text().strip())


def check_log_is_there(folder: Path) -> None:
    """Raises IntegrityError where a log was published but its file is gone: a new one would hide that."""
    if (folder / VKEY_FILE).exists() and log_place(folder) is None:
        raise IntegrityError(f"{folder / LOG_FILE} is gone: restore it. A new log would hide what was deleted")


def write_log(folder: Path, signer: Signer, url: str = "") -> LogWriter:
    """The log of `folder` for writing; a new one in the database at `url`, or in a file where that is empty.

    Raises Conflict where the log lies elsewhere than `url` says, and what LogWriter raises."""
    place = log_place(folder)
    if not url:
        if place and place.name == URL_FILE:
            raise Conflict(f"this audit log is in PostgreSQL, see {place}: set READINGROOM_AUDIT_LOG_URL to it again")
        return AuditLog(folder, signer)
    if place and place.name == LOG_FILE:
        raise Conflict(f"this audit log is {place}: unset READINGROOM_AUDIT_LOG_URL, or `readingroom audit move`")
    from readingroom_hub.adapters.audit_log_postgres import PostgresAuditLog

    log = PostgresAuditLog(folder, signer, url)
    if (folder / VKEY_FILE).exists() and not log.size and not log.damage:
        log.close()
        raise IntegrityError(
            "the audit log's database is empty, but a log was published: restore it. Do not start anew"
        )
    if place is None or place.read_text().strip() != url:  # a database that moved
        with whole_file(folder / URL_FILE) as file:
            file.write(f"{url}\n".encode())
    return log
