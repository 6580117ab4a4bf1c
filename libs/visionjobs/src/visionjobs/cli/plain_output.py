"""Output for logs and pipes: a line for each job, lane, row of usage, alert, key or change, its parts separated by tabs."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from visionjobs.alerts import Alert
from visionjobs.cli import key_wording, lane_wording, usage_wording, wording
from visionjobs.cli.clock import now
from visionjobs.cli.output import Tell
from visionjobs.jobs import Job
from visionjobs.keys import AuditEntry, Key, NewKey
from visionjobs.lanes import Lane
from visionjobs.usage import UsageRow


class PlainOutput:
    """Lines without colour."""

    shows_everything: bool = False

    def submitted(self, job: Job) -> None:
        self._say(f"{job.job_id}\t{job.state}\t{wording.acceptance(job)}".rstrip())
        if job.state.is_final:
            self._result(job)

    def cancelled(self, job: Job) -> None:
        self._tell(job)

    def details(self, job: Job) -> None:
        for name, value in wording.facts(job):
            self._say(f"{name}: {value}" if name else value)
        for name, words in wording.attempts(job):
            self._say(f"{name}: {words}")
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

    def lanes(self, lanes: Sequence[Lane]) -> None:
        present = now()
        for lane in lanes:
            state, limits = lane_wording.state(lane, present), lane_wording.limits(lane)
            jobs = f"{lane.queued_jobs} waiting\t{lane.running_jobs} running"
            self._say(f"{wording.one_line(lane.lane)}\t{state}\t{limits}\t{jobs}")

    def usage(self, rows: Sequence[UsageRow]) -> None:
        for row in rows:
            self._say("\t".join([*usage_wording.groups(row), *usage_wording.figures(row)]))

    def alerts(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            named = f"{wording.one_line(alert.name)}\t{wording.one_line(alert.severity).lower()}"
            self._say(f"{wording.moment(alert.start_time)}\t{named}\t{usage_wording.alert(alert)}")

    def keys(self, keys: Sequence[Key]) -> None:
        present = now()
        for key in keys:
            made = f"created {wording.moment(key.create_time)}\tused {wording.moment(key.last_used_time) or 'never'}"
            who = f"{wording.one_line(key.key_id)}\t{wording.one_line(key.client_id)}\t{key.role.lower()}"
            self._say(f"{who}\t{key_wording.limits(key) or 'default'}\t{made}\t{key_wording.state(key, present)}")

    def new_key(self, new: NewKey) -> None:
        self._say(new.secret)

    def audit(self, entries: Sequence[AuditEntry]) -> None:
        for entry in entries:
            made = f"{wording.moment(entry.create_time)}\t{key_wording.author(entry)}\t{key_wording.call(entry)}"
            self._say(f"{made}\t{key_wording.outcome(entry)}\t{wording.one_line(entry.request_json)}")

    def fact(self, message: str, **values: Any) -> None:  # noqa: ARG002 - the values are for programs
        self._say(message)

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
