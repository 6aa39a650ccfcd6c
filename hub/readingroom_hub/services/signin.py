"""Signing in and out: from a verified identity to a person on the record, with projects and roles.

Good and refused sign-ins are audit events (User Authentication, DICOM PS3.15 section A.5.3), durable before they count.
"""

from dataclasses import dataclass

from readingroom_hub.config import Settings
from readingroom_hub.errors import Denied
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.ids import PersonId, ProjectId
from readingroom_hub.policy.rights import Rights, rights_of
from readingroom_hub.ports.records import AuditRepository
from readingroom_hub.services.projects import ProjectService


class SignInRefused(Denied):
    """A sign-in that does not count. `code` is stable and stands on the record; the message is for the person."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.recorded = False


@dataclass(frozen=True, slots=True)
class Claims:
    """What an identity provider says about somebody, its signature checked."""

    issuer: str
    subject: str
    name: str
    groups: frozenset[str]
    amr: frozenset[str]
    """Authentication method references (RFC 8176) of this sign-in."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person who is in."""

    person: PersonId
    name: str
    rights: Rights


class SignIn:
    """The use case. Every method raises AuditUnavailable where the record cannot be made durable: nobody gets in."""

    def __init__(self, audit: AuditRepository, projects: ProjectService, settings: Settings) -> None:
        self._audit = audit
        self._projects = projects
        self._settings = settings

    def accept(self, claims: Claims) -> SignedIn:
        """Check the second factor and the groups, record, and bring the catalogue's memberships up to date.

        Raises SignInRefused (recorded) with a text that says what to do."""
        person = self._audit.identify(claims.issuer, claims.subject, claims.name)
        rights = self._rights(claims.groups)
        try:
            self._check(claims, rights)
        except SignInRefused as error:
            self.refuse(error, person)
            if not rights:
                self._sync(person, rights)
            raise
        subject = {"roles": sorted(rights.roles), "amr": sorted(claims.amr)}
        self._audit.append([AuditRecord(AuditEvent.SIGN_IN, person=person, subject=subject)])
        self._sync(person, rights)
        return SignedIn(person, claims.name, rights)

    def renew(self, person: PersonId, groups: frozenset[str]) -> Rights:
        """Rights by the groups of now, memberships brought up to date; falsy where nothing is left."""
        rights = self._rights(groups)
        self._sync(person, rights)
        return rights

    def refuse(self, error: SignInRefused, person: PersonId | None = None) -> None:
        """Record a refused sign-in; `person` is given where the identity provider's signature was good."""
        reason = f"{error.code}: {error}"
        self._audit.append([AuditRecord(AuditEvent.SIGN_IN, Outcome.DENIED, person=person, reason=reason)])
        error.recorded = True

    def refuse_request(self, person: PersonId, project: ProjectId | None, reason: str) -> None:
        """Record a refused page or server start of somebody who is signed in."""
        event = AuditEvent.REQUEST_REFUSED
        self._audit.append([AuditRecord(event, Outcome.DENIED, person=person, project=project, reason=reason)])

    def leave(self, person: PersonId) -> None:
        """Record a sign-out."""
        self._audit.append([AuditRecord(AuditEvent.SIGN_OUT, person=person)])

    def _rights(self, groups: frozenset[str]) -> Rights:
        return rights_of(groups, self._settings.project_group_prefix, self._settings.role_group_prefix)

    def _check(self, claims: Claims, rights: Rights) -> None:
        required = self._settings.required_amr
        if not claims.amr.intersection(required):
            raise SignInRefused(
                "second-factor-missing",
                "Your institution signed you in without a second factor. Sign out there, then sign in again with your "
                "authenticator app or security key. If you have none, ask your institution's help desk to set one up.",
            )
        if not rights:
            raise SignInRefused(
                "no-rights",
                "Your institution knows you, but no project or role here is yours. Ask your project's lead to have you "
                f"added to the group {self._settings.project_group_prefix}<project>, then sign in again.",
            )

    def _sync(self, person: PersonId, rights: Rights) -> None:
        self._projects.sync_memberships(person, dict.fromkeys(rights.projects, rights.project_role))
