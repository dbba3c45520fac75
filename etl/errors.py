"""One base class; two axes: whose fault, and whether a retry can help.

The message is written for the user: what happened, to which recorder, file or row, and what to do next. It
never holds a secret.
"""

from __future__ import annotations

from typing import ClassVar


class CdrError(Exception):
    """Base of everything this program raises on purpose.

    `exit_code` is the code a one-shot command ends with (section 3 of the contract); `retry` says whether
    doing the same again later can help.
    """

    exit_code: ClassVar[int] = 1
    retry: ClassVar[bool] = False


class UsageError(CdrError):
    """Wrong usage or configuration: ours to say clearly, the user's to mend."""

    exit_code: ClassVar[int] = 2


class DatabaseError(CdrError):
    """Something between us and PostgreSQL."""

    exit_code: ClassVar[int] = 3


class DatabaseUnavailable(DatabaseError):
    """PostgreSQL is out of reach, starting, stopping, or out of room: waiting helps."""

    retry: ClassVar[bool] = True


class DatabaseRefused(DatabaseError):
    """PostgreSQL answered and said no: wrong password, no such database, missing rights."""


class SchemaMismatch(DatabaseError):
    """The database's schema is not the one this version needs."""


class RecorderError(CdrError):
    """Something between us and a recorder; `recorder` is its name."""

    exit_code: ClassVar[int] = 4

    def __init__(self, recorder: str, message: str) -> None:
        super().__init__(f"recorder {recorder}: {message}")
        self.recorder = recorder


class RecorderUnavailable(RecorderError):
    """The recorder cannot be reached, closed the connection, or does not answer: trying again helps."""

    retry: ClassVar[bool] = True


class HistoryError(CdrError):
    """Something between us and a history source: the HTTP API or metadata files."""

    exit_code: ClassVar[int] = 4


class HistoryUnavailable(HistoryError):
    """The history cannot be reached, fails, or answers nothing that can be understood: trying again helps."""

    retry: ClassVar[bool] = True


class HistoryUnreadable(HistoryUnavailable):
    """What the history gives for this time cannot be used; that of another time may fare better."""


class HistoryRefused(HistoryError):
    """The history answered and said no: wrong login or key, a certificate that does not fit, a bad request."""


class WrongZone(HistoryRefused):
    """The history's times are not in the zone that is configured, as far as they were read."""


class JournalError(CdrError):
    """The local journal cannot be read or written; `path` is the file or folder."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"journal {path}: {message}")
        self.path = path


class JournalFull(JournalError):
    """The journal's disk takes nothing now: full, over quota, read-only or failing. Waiting can help."""

    retry: ClassVar[bool] = True


class JournalDamaged(JournalError):
    """The journal is not what was written; it is set aside, and a gap opens."""
