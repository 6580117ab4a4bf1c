"""Output for logs and pipes: a line for each job, id, state and note apart by tabs."""

import contextlib
import sys
from collections.abc import Iterator

from visionjobs.cli import wording
from visionjobs.cli.output import Tell
from visionjobs.jobs import Job


class PlainOutput:
    """Lines without colour."""

    def submitted(self, job: Job) -> None:
        self._tell(job)
        if job.state.is_final:
            self._result(job)

    def details(self, job: Job) -> None:
        for name, value in wording.facts(job):
            self._say(f"{name}: {value}" if name else value)
        for attempt in job.attempts:
            self._say(f"Attempt {attempt.attempt}: {wording.attempt_line(attempt)}")
        self._result(job)

    @contextlib.contextmanager
    def listing(self) -> Iterator[Tell]:
        yield lambda job: self._say(
            "\t".join([job.job_id, job.state, wording.moment(job.create_time), job.spec.user_id, wording.note(job)])
        )

    @contextlib.contextmanager
    def following(self, *, alone: bool) -> Iterator[Tell]:
        def tell(job: Job) -> None:
            self._tell(job)
            if alone and job.state.is_final:
                self._result(job)

        yield tell

    def notice(self, message: str) -> None:
        sys.stderr.write(f"{wording.printable(message)}\n")

    def error(self, message: str) -> None:
        sys.stderr.write(f"{wording.printable(message)}\n")

    def _tell(self, job: Job) -> None:
        self._say(f"{job.job_id}\t{job.state}\t{wording.note(job)}".rstrip())

    def _result(self, job: Job) -> None:
        if job.result is None:
            return
        self._say(wording.output_text(job.result))
        if job.result.emulated:
            self._say(wording.emulation(job.result))

    def _say(self, line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
