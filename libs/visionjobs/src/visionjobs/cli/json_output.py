"""Output for programs: one JSON object a line, with the names of the contract."""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from visionjobs.alerts import Alert
from visionjobs.cli.output import Tell
from visionjobs.jobs import Job
from visionjobs.keys import AuditEntry, Key, NewKey
from visionjobs.lanes import Lane
from visionjobs.usage import UsageRow


class JsonOutput:
    """Every job, lane, row, alert, key, change and fact is one object on one line; notices and errors are text on stderr."""

    shows_everything: bool = True

    def submitted(self, job: Job) -> None:
        self._tell(job)

    def cancelled(self, job: Job) -> None:
        self._tell(job)

    def details(self, job: Job) -> None:
        self._tell(job)

    @contextlib.contextmanager
    def listing(self) -> Iterator[Tell]:
        yield self._tell

    @contextlib.contextmanager
    def following(self, *, alone: bool) -> Iterator[Tell]:  # noqa: ARG002 - every object carries its result
        yield self._tell

    def lanes(self, lanes: Sequence[Lane]) -> None:
        for lane in lanes:
            self._write(_plain(asdict(lane)))

    def usage(self, rows: Sequence[UsageRow]) -> None:
        for row in rows:
            self._write(_plain(asdict(row)))

    def alerts(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            self._write(_plain(asdict(alert)))

    def keys(self, keys: Sequence[Key]) -> None:
        for key in keys:
            self._write(_plain(asdict(key)))

    def new_key(self, new: NewKey) -> None:
        self._write(_plain(asdict(new)))

    def audit(self, entries: Sequence[AuditEntry]) -> None:
        for entry in entries:
            self._write(_plain(asdict(entry)))

    def fact(self, message: str, **values: Any) -> None:  # noqa: ARG002 - the message is for people
        self._write(_plain(values))

    def notice(self, message: str) -> None:
        sys.stderr.write(f"{message}\n")

    def error(self, message: str) -> None:
        sys.stderr.write(f"{message}\n")

    def _tell(self, job: Job) -> None:
        self._write(document(job))

    def _write(self, values: Mapping[str, Any]) -> None:
        # Escaped, so that it can be written whatever the encoding of the terminal or the pipe is.
        sys.stdout.write(f"{json.dumps(values)}\n")
        sys.stdout.flush()


def document(job: Job) -> dict[str, Any]:
    """Return the job as JSON values: documents inside it parsed, times in ISO 8601, spans in seconds, absent as null."""
    fields = asdict(job)
    spec = fields["spec"]
    for asked in (spec, spec["post_process"]):
        if asked is not None:
            asked["response_schema"] = json.loads(asked["response_schema"]) if asked["response_schema"] else None
    timeout = spec.pop("timeout")
    spec["timeout_seconds"] = timeout.total_seconds() if timeout is not None else None
    for image in spec["images"]:
        del image["data"]
    if fields["result"] is not None:
        fields["result"]["output"] = json.loads(fields["result"].pop("output_json") or "null")
    plain: dict[str, Any] = _plain(fields)
    return plain


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {_name(name, each): _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case timedelta():
            return value.total_seconds()
        case _:
            return value


def _name(name: str, value: Any) -> str:
    return f"{name}_seconds" if isinstance(value, timedelta) else name
