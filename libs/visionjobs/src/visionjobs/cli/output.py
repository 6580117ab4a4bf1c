"""What commands say, in three ways: JSON for programs, plain lines for logs, and a live picture for a terminal."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from visionjobs.jobs import Job

Tell = Callable[[Job], None]


class Output(Protocol):
    """Says results on stdout, and errors and notices on stderr."""

    def submitted(self, job: Job) -> None:
        """Say that the scheduler has accepted the job."""
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

    def notice(self, message: str) -> None:
        """Say what a person may want to know meanwhile."""
        ...

    def error(self, message: str) -> None:
        """Say why the command ends."""
        ...
