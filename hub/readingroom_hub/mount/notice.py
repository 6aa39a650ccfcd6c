"""/data/README.txt: what this session may read, what it was refused, and what to do next, in plain words."""

from collections.abc import Mapping
from datetime import UTC, datetime

from readingroom_hub.policy.access import DenyCode, Standing, refuse_name, session_refusal, visible
from readingroom_hub.services.refusals import Refusals


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def text_of(standing: Standing, refusals: Refusals, now: datetime) -> bytes:
    """The notice as of `now`."""
    project, session = standing.project, standing.session
    lines = [
        f"Project {project.id}: {project.title}",
        f"This session ends on {_time(session.expires_at)}.",
        "",
    ]
    ended = session_refusal(standing, now)
    if ended is not None:
        lines.append(ended.sentence)
    names = visible(standing, now)
    lines += [f"/data/{name}  readable until {_time(allow.until)}" for name, allow in sorted(names.items())]
    if not names and ended is None:
        lines.append(f"No dataset is readable now. Ask a data steward of project {project.id}.")
    lines += _withdrawn(standing, names, now)
    notes = refusals.notes()
    if notes:
        lines += ["", "Refused or lost in this session:"]
        lines += [f"{_time(at)}  {sentence}" for at, sentence in notes]
    lines += [
        "",
        "Every open of an image is on the audit record. These folders are read only.",
        "Errors: EACCES (Permission denied) = no access, see above; EIO (Input/output error) = the stored image is",
        "damaged, or key custody does not answer; ETIMEDOUT (Connection timed out) = the object store does not answer;",
        "EAGAIN (Resource temporarily unavailable) = the audit record repository or the catalogue does not answer, and",
        "nothing is read without a record (ETIMEDOUT where the image was open before). Try again in a minute.",
        "When access is withdrawn, memory-mapped images of that dataset end the kernel that uses them (SIGBUS).",
    ]
    return ("\n".join(lines) + "\n").encode()


def _withdrawn(standing: Standing, names: Mapping[str, object], now: datetime) -> list[str]:
    lost = sorted({str(g.dataset) for g in standing.grants if str(g.dataset) not in names})
    refusals = [refuse_name(standing, name, now) for name in lost]
    return [
        r.sentence for r in refusals if r is not None and r.code in {DenyCode.GRANT_REVOKED, DenyCode.GRANT_EXPIRED}
    ]
