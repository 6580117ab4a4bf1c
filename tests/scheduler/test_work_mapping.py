import datetime

import pytest
from google.protobuf import duration_pb2
from hypothesis import given
from hypothesis import strategies as st
from stores import LANE

from scheduler.errors import ProtocolViolation
from scheduler.fleet import (
    Credit,
    Heartbeat,
    Progress,
    Uplink,
)
from scheduler.jobs import JobError, Stage, Usage
from scheduler.outcomes import Failed, Outcome, Released, Succeeded, Throttled, Verdict
from scheduler.records import AttemptId, ExecutorInfo
from scheduler.rpc import work_mapping
from visionjobs.v1 import executor_service_pb2 as pb
from visionjobs.v1 import job_pb2

JOB_ID = "01990000-0000-7000-8000-000000000000"
ATTEMPT = AttemptId(JOB_ID, 2)
REF = pb.AttemptRef(job_id=JOB_ID, attempt=2)
MEBIBYTE = 1024 * 1024


def seconds(value: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=value)


def hello(**changes: object) -> pb.Hello:
    fields: dict[str, object] = {
        "executor_id": "e1",
        "host": "host",
        "version": "1",
        "capacity": 3,
        "lanes": ["gemini/*", LANE],
    }
    return pb.Hello(**fields | changes)  # type: ignore[arg-type]


def test_a_hello_says_who_dials_and_what_it_holds() -> None:
    info, held = work_mapping.hello(hello(held=[REF]), client_id="fleet")

    assert info == ExecutorInfo(
        executor_id="e1", host="host", version="1", capacity=3, lanes=("gemini/*", LANE), client_id="fleet"
    )
    assert held == [ATTEMPT]


@pytest.mark.parametrize(
    "changes",
    [
        {"executor_id": ""},
        {"executor_id": "e" * 129},
        {"executor_id": "e\x00"},
        {"capacity": 0},
        {"lanes": []},
        {"lanes": ["gemini"]},
        {"lanes": ["*/*"]},
        {"lanes": ["gemini/*[a]"]},
        {"held": [pb.AttemptRef(job_id="42", attempt=1)]},
    ],
)
def test_a_hello_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ProtocolViolation):
        work_mapping.hello(hello(**changes), client_id="fleet")


def test_a_message_may_say_everything_at_once() -> None:
    other = pb.AttemptRef(job_id=JOB_ID.upper(), attempt=3)
    message = pb.WorkRequest(
        credit=pb.Credit(free_slots=2, assignments_received=7),
        accepted=[REF],
        ready=[other],
        progress=[pb.Progress(ref=REF, stage=job_pb2.JOB_STAGE_GEMINI_ANALYZING)],
        withdrawn=[other],
        heartbeat=pb.Heartbeat(number=9, lists_held=True, held=[REF]),
    )

    assert work_mapping.uplink(message) == Uplink(
        credit=Credit(2, 7),
        accepted=[ATTEMPT],
        ready=[AttemptId(JOB_ID, 3)],
        progress=[Progress(ATTEMPT, Stage.GEMINI_ANALYZING)],
        outcomes=[],
        withdrawn=[AttemptId(JOB_ID, 3)],
        heartbeat=Heartbeat(number=9, held=[ATTEMPT]),
    )


def test_a_message_may_say_nothing() -> None:
    assert work_mapping.uplink(pb.WorkRequest()) == Uplink(
        accepted=[], ready=[], progress=[], outcomes=[], withdrawn=[]
    )


def test_an_empty_list_of_what_is_held_is_something_else_than_no_list() -> None:
    heartbeats = [
        work_mapping.uplink(pb.WorkRequest(heartbeat=pb.Heartbeat(number=1, lists_held=lists))).heartbeat
        for lists in (True, False)
    ]

    assert heartbeats == [Heartbeat(number=1, held=[]), Heartbeat(number=1, held=None)]


def test_negative_credit_is_none() -> None:
    assert work_mapping.uplink(pb.WorkRequest(credit=pb.Credit(free_slots=-1))).credit == Credit(0, 0)


@pytest.mark.parametrize(
    "message",
    [
        pb.WorkRequest(accepted=[pb.AttemptRef(job_id=JOB_ID)]),
        pb.WorkRequest(ready=[pb.AttemptRef(job_id="", attempt=1)]),
        pb.WorkRequest(progress=[pb.Progress(ref=pb.AttemptRef(attempt=1), stage=job_pb2.JOB_STAGE_STARTING)]),
        pb.WorkRequest(outcomes=[pb.Outcome(ref=pb.AttemptRef(job_id="42", attempt=1), released=pb.Released())]),
        pb.WorkRequest(heartbeat=pb.Heartbeat(lists_held=True, held=[pb.AttemptRef(job_id=JOB_ID, attempt=-1)])),
    ],
)
def test_a_message_that_makes_no_sense_is_refused(message: pb.WorkRequest) -> None:
    with pytest.raises(ProtocolViolation):
        work_mapping.uplink(message)


def outcome(message: pb.Outcome) -> Outcome:
    message.ref.CopyFrom(REF)
    [found] = work_mapping.uplink(pb.WorkRequest(outcomes=[message])).outcomes
    return found


def test_an_outcome_carries_what_was_used_and_how_long_it_took() -> None:
    message = pb.Outcome(
        succeeded=pb.Succeeded(output_json='{"a":1}'),
        usage=job_pb2.Usage(input_tokens=5, output_tokens=4, thinking_tokens=3, cached_tokens=2, image_tokens=1),
        model_version="gemini-3.8-flash-001",
        stage_durations=[
            job_pb2.StageDuration(
                stage=job_pb2.JOB_STAGE_GEMINI_ANALYZING, duration=duration_pb2.Duration(seconds=1, nanos=500_000_000)
            )
        ],
        paid=True,
        traceparent="trace",
        step=2,
        steps=3,
        service_tier="FLEX",
        unanswered=True,
    )

    assert outcome(message) == Outcome(
        attempt_id=ATTEMPT,
        verdict=Succeeded('{"a":1}'),
        usage=Usage(input_tokens=5, output_tokens=4, thinking_tokens=3, cached_tokens=2, image_tokens=1),
        model_version="gemini-3.8-flash-001",
        stage_seconds={Stage.GEMINI_ANALYZING: 1.5},
        paid=True,
        traceparent="trace",
        step=2,
        steps=3,
        service_tier="FLEX",
        unanswered=True,
    )


@pytest.mark.parametrize("told", [{}, {"step": -3, "steps": -1}])
def test_an_executor_that_knows_no_steps_means_the_only_one(told: dict[str, int]) -> None:
    found = outcome(pb.Outcome(released=pb.Released(), **told))  # type: ignore[arg-type]

    assert (found.step, found.steps) == (1, 1)


@pytest.mark.parametrize("stage", [0, 99])
def test_a_stage_of_a_newer_executor_is_passed_over(stage: job_pb2.JobStage.ValueType) -> None:
    progress = pb.WorkRequest(progress=[pb.Progress(ref=REF, stage=stage)])
    released = pb.Outcome(released=pb.Released(), stage_durations=[job_pb2.StageDuration(stage=stage)])

    assert work_mapping.uplink(progress).progress == []
    assert outcome(released).stage_seconds == {}


@pytest.mark.parametrize(
    ("message", "kind"),
    [(pb.Outcome(), "INTERNAL"), (pb.Outcome(succeeded=pb.Succeeded()), "INVALID_OUTPUT")],
)
def test_an_outcome_that_cannot_be_read_is_a_failure_of_its_attempt_alone(message: pb.Outcome, kind: str) -> None:
    verdict = outcome(message).verdict

    assert isinstance(verdict, Failed)
    assert (verdict.error.kind, verdict.error.retryable) == (kind, True)


def test_an_outcome_without_usage_does_not_say_that_nothing_was_used() -> None:
    assert outcome(pb.Outcome(released=pb.Released())).usage is None
    assert outcome(pb.Outcome(released=pb.Released(), usage=job_pb2.Usage())).usage == Usage()


@pytest.mark.parametrize(
    ("message", "verdict"),
    [
        (
            pb.Outcome(
                failed=pb.Failed(
                    error=job_pb2.JobError(kind="PROVIDER_ERROR", message="503", retryable=True),
                    raw_answer="<html>",
                    retry_after=duration_pb2.Duration(seconds=7),
                )
            ),
            Failed(JobError(kind="PROVIDER_ERROR", message="503", retryable=True), "<html>", seconds(7)),
        ),
        (
            pb.Outcome(
                failed=pb.Failed(
                    error=job_pb2.JobError(kind="INVALID_OUTPUT", message="m", retryable=True),
                    flaw="SCHEMA_MISMATCH",
                    output_path="items[0].total",
                    image_sha256="0a" * 32,
                    schema_suspected=True,
                )
            ),
            Failed(
                JobError(kind="INVALID_OUTPUT", message="m", retryable=True),
                flaw="SCHEMA_MISMATCH",
                output_path="items[0].total",
                image_sha256="0a" * 32,
                schema_suspected=True,
            ),
        ),
        (pb.Outcome(failed=pb.Failed()), Failed(JobError(kind="UNKNOWN", message="", retryable=False))),
        (
            pb.Outcome(throttled=pb.Throttled(message="slow", lane_stop="billing")),
            Throttled("slow", None, "billing"),
        ),
        (pb.Outcome(released=pb.Released(message="draining")), Released("draining")),
    ],
)
def test_a_verdict_is_taken_as_it_is_told(message: pb.Outcome, verdict: Verdict) -> None:
    assert outcome(message).verdict == verdict


def test_a_character_that_the_database_cannot_store_is_replaced() -> None:
    told = outcome(pb.Outcome(failed=pb.Failed(error=job_pb2.JobError(kind="K", message="a\x00b"), raw_answer="\x00")))

    assert told.verdict == Failed(JobError(kind="K", message="a\ufffdb", retryable=False), "\ufffd")


def test_what_an_executor_tells_is_kept_within_bounds() -> None:
    endless = "x" * 1_000_000
    failed = pb.Failed(
        error=job_pb2.JobError(kind=endless, message=endless),
        raw_answer=endless,
        flaw=endless,
        output_path=endless,
        image_sha256=endless,
    )

    told = outcome(pb.Outcome(failed=failed, model_version=endless, service_tier=endless))

    assert isinstance(told.verdict, Failed)
    assert len(told.verdict.raw_answer) == 64 * 1024
    assert len(told.verdict.error.message) == 4_096
    assert (len(told.verdict.error.kind), len(told.verdict.flaw), len(told.verdict.output_path)) == (128, 128, 1_024)
    assert told.verdict.image_sha256 == ""
    assert (len(told.model_version), len(told.service_tier)) == (128, 128)


def test_words_of_whatever_verdict_are_kept_within_bounds() -> None:
    endless = "x" * 1_000_000

    throttled = outcome(pb.Outcome(throttled=pb.Throttled(message=endless, lane_stop=endless))).verdict
    released = outcome(pb.Outcome(released=pb.Released(message=endless))).verdict

    assert throttled == Throttled("x" * 4_096, None, "x" * 4_096)
    assert released == Released("x" * 4_096)


@pytest.mark.parametrize("tokens", [-1, 2**31, 2**63 - 1])
def test_tokens_that_no_call_can_have_used_count_as_nothing(tokens: int) -> None:
    told = outcome(pb.Outcome(released=pb.Released(), usage=job_pb2.Usage(input_tokens=tokens, output_tokens=7)))

    assert told.usage == Usage(output_tokens=7)


@pytest.mark.parametrize("told", [-5, 2**62])
def test_a_stage_takes_no_time_that_clients_could_not_be_told(told: int) -> None:
    spent = job_pb2.StageDuration(stage=job_pb2.JOB_STAGE_VALIDATING, duration=duration_pb2.Duration(seconds=told))

    [found] = outcome(pb.Outcome(released=pb.Released(), stage_durations=[spent])).stage_seconds.values()

    assert 0 <= found <= 30 * 86_400


def test_a_step_that_no_job_has_stays_one_and_fits_into_the_database() -> None:
    found = outcome(pb.Outcome(released=pb.Released(), step=2**31 - 1, steps=2**31 - 1))

    assert (found.step, found.steps) == (2**15 - 1, 2**15 - 1)


@given(whole=st.integers(-(2**40), 2**40), nanos=st.integers(-(2**31), 2**31 - 1))
def test_a_wait_is_never_negative_nor_longer_than_a_month(whole: int, nanos: int) -> None:
    throttled = pb.Throttled(retry_after=duration_pb2.Duration(seconds=whole, nanos=nanos))

    verdict = outcome(pb.Outcome(throttled=throttled)).verdict

    assert isinstance(verdict, Throttled)
    assert verdict.retry_after is not None
    assert seconds(0) <= verdict.retry_after <= datetime.timedelta(days=30)


def test_a_wait_is_exact() -> None:
    throttled = pb.Throttled(retry_after=duration_pb2.Duration(seconds=17, nanos=250_000_000))

    assert outcome(pb.Outcome(throttled=throttled)).verdict == Throttled("", seconds(17.25))
