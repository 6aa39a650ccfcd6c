"""Identifiers as validated types. A value that exists is well formed, so nothing downstream checks again."""

import re
import secrets
from typing import ClassVar, Self

from readingroom_hub.errors import BadInput


class _Id(str):
    """A string of one fixed form; `what` names it in errors."""

    __slots__ = ()
    pattern: ClassVar[re.Pattern[str]]
    what: ClassVar[str]
    form: ClassVar[str]

    def __new__(cls, value: str) -> Self:
        if not cls.pattern.fullmatch(value):
            raise BadInput(f"{value[:80]!r} is not a {cls.what}: {cls.form}")
        return super().__new__(cls, value)


class ProjectId(_Id):
    """The unit of approval. Also a JupyterHub server name, whose form is [a-z0-9-]{1,30}."""

    __slots__ = ()
    pattern = re.compile(r"[a-z][a-z0-9-]{0,28}[a-z0-9]")
    what = "project name"
    form = "2 to 30 lower-case letters, digits and hyphens, starting with a letter"


class DatasetName(_Id):
    """A folder name below /data."""

    __slots__ = ()
    pattern = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
    what = "dataset name"
    form = "1 to 63 lower-case letters, digits, dots, hyphens and underscores, starting with a letter or digit"


class VersionDigest(_Id):
    """A dataset version's name: the SHA-256 of its manifest, as `sha256:` and 64 hexadecimal digits."""

    __slots__ = ()
    pattern = re.compile(r"sha256:[0-9a-f]{64}")
    what = "dataset version"
    form = "sha256: followed by 64 hexadecimal digits"

    @property
    def short(self) -> str:
        """The first 12 hexadecimal digits, which people type and read."""
        return self[7:19]


class UID(_Id):
    """A DICOM unique identifier (PS3.5 section 9): at most 64 digits and dots. Leading zeros are tolerated on input."""

    __slots__ = ()
    pattern = re.compile(r"(?=.{1,64}\Z)[0-9]+(\.[0-9]+)*")
    what = "DICOM UID"
    form = "at most 64 characters, digits separated by dots"


class PersonId(_Id):
    """A salted commitment to issuer and subject: `p-` and 64 hexadecimal digits. It says nothing without its salt."""

    __slots__ = ()
    pattern = re.compile(r"p-[0-9a-f]{64}")
    what = "person"
    form = "p- followed by 64 hexadecimal digits"

    @property
    def hub_name(self) -> str:
        """The person's JupyterHub user name: `u-` and the first 20 hexadecimal digits."""
        return "u-" + self[2:22]


class _RandomId(_Id):
    __slots__ = ()
    prefix: ClassVar[str]

    @classmethod
    def new(cls) -> Self:
        """Draw a fresh one: 96 random bits."""
        return cls(cls.prefix + secrets.token_hex(12))


class SessionId(_RandomId):
    """One running server."""

    __slots__ = ()
    prefix = "s-"
    pattern = re.compile(r"s-[0-9a-f]{24}")
    what = "session"
    form = "s- followed by 24 hexadecimal digits"


class GrantId(_RandomId):
    """One access grant."""

    __slots__ = ()
    prefix = "g-"
    pattern = re.compile(r"g-[0-9a-f]{24}")
    what = "access grant"
    form = "g- followed by 24 hexadecimal digits"


class ApprovalId(_RandomId):
    """One approval that was asked for."""

    __slots__ = ()
    prefix = "a-"
    pattern = re.compile(r"a-[0-9a-f]{24}")
    what = "approval"
    form = "a- followed by 24 hexadecimal digits"


class KeyId(_RandomId):
    """One data key. Also the folder of the objects that it encrypts."""

    __slots__ = ()
    prefix = "k-"
    pattern = re.compile(r"k-[0-9a-f]{24}")
    what = "data key"
    form = "k- followed by 24 hexadecimal digits"


class VaultId(_Id):
    """One encrypted folder: a person's home in a project, or the folder that a project's members share."""

    __slots__ = ()
    pattern = re.compile(r"(home\.u-[0-9a-f]{20}|project)\.[a-z][a-z0-9-]{0,28}[a-z0-9]")
    what = "vault"
    form = "home., a person's hub name, a dot and a project name; or project. and a project name"

    @classmethod
    def home(cls, person: PersonId, project: ProjectId) -> Self:
        """The vault of the person's home in the project."""
        return cls(f"home.{person.hub_name}.{project}")

    @classmethod
    def shared(cls, project: ProjectId) -> Self:
        """The vault of the project's shared folder."""
        return cls(f"project.{project}")

    @property
    def is_home(self) -> bool:
        """Whether it is one person's."""
        return self.startswith("home.")
