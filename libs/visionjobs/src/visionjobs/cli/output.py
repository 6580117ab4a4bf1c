"""What commands say, in three ways: JSON for programs, plain lines for logs, and a live picture for a terminal."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from visionjobs.alerts import Alert
from visionjobs.jobs import Job
from visionjobs.keys import AuditEntry, Key, NewKey
from visionjobs.lanes import Lane
from visionjobs.usage import UsageRow

Tell = Callable[[Job], None]


class Output(Protocol):
    """Says results on stdout, and errors and notices on stderr.

    Attributes:
        shows_everything: Whether a job that ended is said with all that it carries, not only with what people look at.
    """

    shows_everything: bool

    def submitted(self, job: Job) -> None:
        """Say that the scheduler has accepted the job."""
        ...

    def cancelled(self, job: Job) -> None:
        """Say that the job was stopped."""
        ...

    def details(self, job: Job) -> None:
        """Say everything about a job."""
        ...

    def listing(self) -> AbstractContextManager[Tell]:
        """Say a line for each job that is told inside."""
        ...

    def following(self, *, alone: bool) -> AbstractContextManager[Tell]:
        """Say every change that is told inside; the result too if one job is followed alone."""
        ...

    def lanes(self, lanes: Sequence[Lane]) -> None:
        """Say how each lane is."""
        ...

    def usage(self, rows: Sequence[UsageRow]) -> None:
        """Say what each group used."""
        ...

    def alerts(self, alerts: Sequence[Alert]) -> None:
        """Say what wants a person."""
        ...

    def keys(self, keys: Sequence[Key]) -> None:
        """Say what each key is for and whether it works."""
        ...

    def new_key(self, new: NewKey) -> None:
        """Say the secret of a key, to people alone on a line."""
        ...

    def audit(self, entries: Sequence[AuditEntry]) -> None:
        """Say what was changed, by whom and when."""
        ...

    def fact(self, message: str, **values: Any) -> None:
        """Say one thing: the message to people, the values to programs."""
        ...

    def notice(self, message: str) -> None:
        """Say what a person may want to know meanwhile."""
        ...

    def error(self, message: str) -> None:
        """Say why the command ends."""
        ...
