"""Who may read which dataset version now: a pure function of session, project, grants and time.

45 CFR 164.312(a)(1): access only for those that have been granted access rights."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from readingroom_hub.model.alert import Hold
from readingroom_hub.model.grant import Grant
from readingroom_hub.model.ids import VersionDigest
from readingroom_hub.model.project import Project
from readingroom_hub.model.session import Session


class DenyCode(StrEnum):
    """Why a read is refused. Stored in audit records, never renamed."""

    SESSION_CLOSED = "session-closed"
    SESSION_EXPIRED = "session-expired"
    PROJECT_ENDED = "project-ended"
    GRANT_REVOKED = "grant-revoked"
    GRANT_EXPIRED = "grant-expired"
    NOT_GRANTED = "not-granted"
    OPEN_FILES = "too-many-open-files"
    BYTES = "too-many-bytes"
    ON_HOLD = "on-hold"


@dataclass(frozen=True, slots=True)
class Standing:
    """All that a decision depends on, as read from the catalogue at one moment."""

    session: Session
    project: Project
    grants: tuple[Grant, ...]
    hold: Hold | None = None
    """Of the session's person."""


@dataclass(frozen=True, slots=True)
class Allow:
    """Reading is allowed by `grant`, up to (not including) `until`."""

    grant: Grant
    until: datetime


@dataclass(frozen=True, slots=True)
class Deny:
    """Reading is refused: a stable code, and a sentence that says what to do next."""

    code: DenyCode
    sentence: str


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M %Z").strip()


def on_hold(hold: Hold) -> Deny:
    """Why a person who is held reads nothing. What looked unusual is not said: it would teach to stay below it."""
    return Deny(
        DenyCode.ON_HOLD,
        f"Your access is on hold since {_day(hold.since)}, because it looked unusual. Your files are safe: save your "
        "work, and ask a data steward, who can lift the hold.",
    )


def session_refusal(standing: Standing, now: datetime) -> Deny | None:
    """Why nothing at all may be read in this session at `now`, or None."""
    session, project = standing.session, standing.project
    if session.closed_at is not None:
        return Deny(DenyCode.SESSION_CLOSED, f"This session ended on {_day(session.closed_at)}. Start a new server.")
    if not session.is_open(now):
        return Deny(
            DenyCode.SESSION_EXPIRED, f"This session ended by itself on {_day(session.expires_at)}. Start a new server."
        )
    if standing.hold is not None:
        return on_hold(standing.hold)
    if project.ends_at is not None and now >= project.ends_at:
        return Deny(
            DenyCode.PROJECT_ENDED,
            f"Project {project.id} ended on {_day(project.ends_at)}. Ask its owner, {project.owner}, to extend it.",
        )
    return None


def _ended(grants: list[Grant], what: str, standing: Standing, now: datetime) -> Deny:
    """Why none of these grants of `what` counts any more."""
    started = [g for g in grants if g.created_at <= now]
    if not started:
        project = standing.project.id
        return Deny(
            DenyCode.NOT_GRANTED, f"Project {project} has no access to {what}. Ask a data steward of project {project}."
        )
    last = max(started, key=lambda g: min(g.ends_at, g.revoked_at or g.ends_at))
    ask = f"Ask a data steward of project {standing.project.id}."
    if last.revoked_at is not None and last.revoked_at < last.ends_at:
        return Deny(DenyCode.GRANT_REVOKED, f"Access to {last.dataset} was withdrawn on {_day(last.revoked_at)}. {ask}")
    return Deny(DenyCode.GRANT_EXPIRED, f"Access to {last.dataset} ended on {_day(last.ends_at)}. {ask}")


def _of_project(standing: Standing) -> list[Grant]:
    return [g for g in standing.grants if g.project == standing.session.project == standing.project.id]


def decide(standing: Standing, version: VersionDigest, now: datetime) -> Allow | Deny:
    """Whether the session may read this version at `now`. Of several current grants the newest counts."""
    refusal = session_refusal(standing, now)
    if refusal is not None:
        return refusal
    grants = [g for g in _of_project(standing) if g.version == version]
    current = [g for g in grants if g.is_current(now)]
    if not current:
        return _ended(grants, f"dataset version {version.short}", standing, now)
    grant = max(current, key=lambda g: (g.created_at, g.id))
    ends = [grant.ends_at, standing.session.expires_at]
    if standing.project.ends_at is not None:
        ends.append(standing.project.ends_at)
    return Allow(grant, min(ends))


def refuse_name(standing: Standing, name: str, now: datetime) -> Deny | None:
    """Why the folder `name` (NAME or NAME@SHORT) is not there, or None where it is only spelt in another way.

    For names that `visible` does not list."""
    refusal = session_refusal(standing, now)
    if refusal is not None:
        return refusal
    dataset, _, short = name.partition("@")
    grants = [g for g in _of_project(standing) if g.dataset == dataset and (not short or g.version.short == short)]
    return None if any(g.is_current(now) for g in grants) else _ended(grants, name, standing, now)


def visible(standing: Standing, now: datetime) -> dict[str, Allow]:
    """Folder names below /data: the version of a dataset's newest grant has the plain name, others are NAME@SHORT."""
    allowed: dict[VersionDigest, Allow] = {}
    for grant in _of_project(standing):
        decision = decide(standing, grant.version, now)
        if isinstance(decision, Allow):
            allowed[grant.version] = decision
    names: dict[str, Allow] = {}
    for allow in sorted(allowed.values(), key=lambda a: (a.grant.created_at, a.grant.id), reverse=True):
        plain = str(allow.grant.dataset)
        names[plain if plain not in names else f"{plain}@{allow.grant.version.short}"] = allow
    return names
