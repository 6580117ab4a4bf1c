"""`make bench-faults`: a thousand jobs against an emulated provider that fails in every fourth way, and what they cost.

What is printed is counted by both sides: the emulator's ledger and log of calls, and the attempts that the scheduler kept.
A call whose answer was billed and then lost, or was billed and useless, has to be made again by any client: that share is
printed beside what was really paid.
"""

from __future__ import annotations  # the generated stubs' asynchronous classes exist for type checkers only

import asyncio
import datetime
import json
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
from rich.console import Console
from rich.table import Table

from bench.jobs import BATCH, request
from devkit import stack
from visionjobs.v1 import job_pb2, vision_job_service_pb2_grpc
from visionjobs.v1 import vision_job_service_pb2 as pb

JOBS = 1_000
RATES = {"429": 0.20, "503": 0.10, "reset-after": 0.05, "hang": 0.02, "cut-json": 0.03}
"""The share of the calls that each fault hits."""

RETRY_SECONDS = 1.0
TIMEOUT_SECONDS = 10
HEARD_SECONDS = 0.2
"""A call that arrives later than this after a 429 was not on its way, and breaks a promise.

Both executors' calls of one moment need a connection each, and the emulator takes them up one after the other.
"""

EXECUTORS, CAPACITY = 2, 24
BREAKER_FAILURES, BREAKER_OPEN_SECONDS = 5, 5

# How an attempt ends that a fault hit: its outcome, the kind of its error, and what was wrong with the answer.
EXPECTED = {
    "429": ("THROTTLED", "THROTTLED", ""),
    "503": ("FAILED", "PROVIDER_ERROR", ""),
    "reset-after": ("FAILED", "PROVIDER_ERROR", ""),
    "hang": ("FAILED", "TIMEOUT", ""),
    "cut-json": ("FAILED", "INVALID_OUTPUT", "NOT_JSON"),
    "": ("SUCCEEDED", "", ""),
}


async def main() -> int:
    """Return 0 if every promise held."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="visionjobs-faults-") as name:
        options = stack.Options(
            folder=Path(name) / "run",
            executors=EXECUTORS,
            capacity=CAPACITY,
            emulate=True,
            emulator_arguments=("--latency-ms", "100", "--seed", "1"),
            environment={
                "SCHEDULER_BREAKER_FAILURES": str(BREAKER_FAILURES),
                "SCHEDULER_BREAKER_OPEN_SECONDS": str(BREAKER_OPEN_SECONDS),
            },
        )
        async with stack.running(options) as system:
            _script(system)
            began = time.perf_counter()
            jobs = await _work_off(system)
            seconds = time.perf_counter() - began
            calls, ledger = _get(system, "calls"), _get(system, "ledger")
    return _report(console, jobs, calls, ledger["calls"], seconds)


def _script(system: stack.Stack) -> None:
    """Let each call be hit by at most one fault, each with its rate: what an earlier line leaves is shared by the later."""
    left = 1.0
    for kind, rate in RATES.items():
        fault = {"kind": kind, "rate": rate / left} | ({"retry_seconds": RETRY_SECONDS} if kind == "429" else {})
        _post(system, "faults", fault)
        left -= rate


async def _work_off(system: stack.Stack) -> Sequence[job_pb2.Job]:
    async with grpc.aio.insecure_channel(system.address) as channel:
        stub: Any = vision_job_service_pb2_grpc.VisionJobServiceStub(channel)
        requests = [request() for _ in range(JOBS)]
        for each in requests:
            each.spec.timeout.FromSeconds(TIMEOUT_SECONDS)
        ids = [
            job.job_id
            for start in range(0, JOBS, BATCH)
            for job in (await stub.SubmitJobs(pb.SubmitJobsRequest(requests=requests[start : start + BATCH]))).jobs
        ]
        async for _ in stub.WatchJobs(pb.WatchJobsRequest(job_ids=ids)):
            pass
        return [(await stub.GetJob(pb.GetJobRequest(job_id=job_id))).job for job_id in ids]


def _report(
    console: Console,
    jobs: Sequence[job_pb2.Job],
    calls: dict[str, Any],
    bills: Sequence[dict[str, Any]],
    seconds: float,
) -> int:
    states = Counter(job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_") for job in jobs)
    # A released one went back before its call.
    attempts = Counter(
        (attempt.outcome, attempt.error.kind, attempt.flaw)
        for job in jobs
        for attempt in job.attempts
        if attempt.outcome != "RELEASED"
    )
    hits = Counter(call["fault"] for call in calls["calls"])
    table = Table(
        title=f"{JOBS:,} jobs, {EXECUTORS} executors of {CAPACITY} slots, the EMULATOR's faults; breaker: "
        f"{BREAKER_FAILURES} failures in a row, {BREAKER_OPEN_SECONDS} s",
        title_justify="left",
    )
    for heading in ("fault", "share asked for", "calls hit", "attempts that ended as the table says"):
        table.add_column(heading, justify="left" if heading == "fault" else "right")
    wanted: Counter[tuple[str, str, str]] = Counter()
    for fault, ending in EXPECTED.items():
        wanted[ending] += hits[fault]
    for fault, ending in EXPECTED.items():
        shared = sum(hits[other] for other, same in EXPECTED.items() if same == ending)
        told = f"{attempts[ending]:,} of {shared:,}"
        table.add_row(fault or "none", f"{RATES.get(fault, 0):.0%}" if fault else "", f"{hits[fault]:,}", told)
    console.print(table)
    lost = sum(1 for call in calls["calls"] if call["fault"] in ("reset-after", "cut-json"))
    succeeded = states["SUCCEEDED"]
    unavoidable = (succeeded + lost) / len(jobs)
    paid = len(bills) / len(jobs)
    console.print(f"Jobs: {', '.join(f'{count:,} {state}' for state, count in states.items())}, in {seconds:.0f} s.")
    console.print(f"Paid calls a job: {paid:.3f}; what no client could have avoided: {unavoidable:.3f}.")
    late = _late_seconds(calls["calls"])
    console.print(
        f"Calls that arrived after the provider had asked to be left alone: {calls['violations']}"
        + (f", the last of them {late * 1000:.0f} ms after: they were on their way." if calls["violations"] else ".")
    )
    broken = [
        *(["an attempt did not end as the table says"] if wanted != attempts else []),
        *(["a call was paid for in vain"] if len(bills) != succeeded + lost else []),
        *(["a retry time was not kept"] if late > HEARD_SECONDS else []),
        *(["a job did not end as the table says"] if not all(_ends_rightly(job) for job in jobs) else []),
    ]
    for sentence in broken:
        console.print(f"[red]Broken: {sentence}.[/red]")
    if wanted != attempts:
        console.print(f"Attempts that ended otherwise: {dict(attempts - wanted)}; missing: {dict(wanted - attempts)}")
    return 1 if broken else 0


def _late_seconds(calls: Sequence[dict[str, Any]]) -> float:
    """Return how long after a provider's answer the last call began that it forbade."""
    told = [_time_of(call["retry_until"]) - RETRY_SECONDS for call in calls if call["retry_until"]]
    soon = [_time_of(call["begin_time"]) for call in calls if call["too_soon"]]
    return max((began - time for began in soon for time in told if 0 <= began - time < RETRY_SECONDS), default=0.0)


def _time_of(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


def _ends_rightly(job: job_pb2.Job) -> bool:
    """Say whether a job succeeded with its last attempt, or failed when its retries were used up."""
    last = job.attempts[-1]
    if job.state == job_pb2.JOB_STATE_SUCCEEDED:
        return last.outcome == "SUCCEEDED"
    flaws = Counter(attempt.flaw for attempt in job.attempts if attempt.flaw)
    exhausted = job.retry_count >= job.spec.max_retries or max(flaws.values(), default=0) > 2
    return job.state == job_pb2.JOB_STATE_FAILED and last.outcome == "FAILED" and exhausted


def _get(system: stack.Stack, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{system.emulator_url}/emulator/{path}") as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def _post(system: stack.Stack, path: str, document: object) -> None:
    body = json.dumps(document).encode()
    asked = urllib.request.Request(f"{system.emulator_url}/emulator/{path}", data=body, method="POST")
    with urllib.request.urlopen(asked):
        pass


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
