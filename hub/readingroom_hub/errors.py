"""One error tree. `str(error)` is the text for people, and the only text that reaches a user; the cause is chained."""


class ReadingRoomError(Exception):
    """Base of every error that a user may see. The message names the object and says what to do next."""


class BadInput(ReadingRoomError):
    """What was given (a file, an identifier, an option) cannot be used as it is."""


class NotFound(ReadingRoomError):
    """The named project, dataset, version, grant or session does not exist."""


class Conflict(ReadingRoomError):
    """The change contradicts what is already there, for example a name that is taken."""


class Denied(ReadingRoomError):
    """Policy refuses. Every raise of this is matched by an audit record."""


class AuditUnavailable(ReadingRoomError):
    """The audit record repository did not confirm durability in time: nothing may be released."""


class IntegrityError(ReadingRoomError):
    """Stored bytes are not what was stored: a damaged object, a changed record, a swapped key."""


class KeyUnavailable(ReadingRoomError):
    """A key is destroyed, missing, or its custodian does not answer."""


class StoreUnavailable(ReadingRoomError):
    """The object store or the catalogue cannot be reached or written, for example a full disk."""


class SystemUnfit(ReadingRoomError):
    """The machine lacks something that must not be replaced by something weaker (`/dev/fuse`, user namespaces)."""
