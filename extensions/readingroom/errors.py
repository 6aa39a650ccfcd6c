"""Errors of the untrusted wing. `str(error)` is the text for people; the cause is chained."""


class ReadingRoomError(Exception):
    """Base of every error that a researcher or reviewer may see. The message says what to do next."""


class NotInReadingRoom(ReadingRoomError):
    """No hub answers on the socket: this Python does not run in a Reading Room server."""


class NotFound(ReadingRoomError):
    """The named dataset or series is not below /data."""


class AccessEnded(ReadingRoomError):
    """The mount refuses (EACCES): the access grant was revoked, has expired, or the session is over."""


class Damaged(ReadingRoomError):
    """A file cannot be read or decoded, or its key cannot be had (EIO)."""


class NotNow(ReadingRoomError):
    """The mount refuses for a while (EMFILE, EDQUOT, EAGAIN, ETIMEDOUT): a limit of the session, or the hub or the
    object store does not answer."""


class NotAVolume(ReadingRoomError):
    """The images of a series do not form one regular grid. The message says why."""


class BadInput(ReadingRoomError):
    """What was given cannot be used as it is."""


class RerunRefused(ReadingRoomError):
    """A rerun was not started, because its inputs are not what was asked for."""
