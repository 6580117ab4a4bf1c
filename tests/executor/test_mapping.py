import datetime

import pytest
from executor_world import TRACEPARENT, USAGE, assignment
from hypothesis import given
from hypothesis import strategies as st

from devkit.virtual_time import EPOCH
from executor.ports import Credit, Heartbeat, Hello, Permit, Progress, Uplink
from executor.rpc import mapping
from executor.work import (
    AttemptId,
    Failed,
    Generation,
    ImageRef,
    Outcome,
    Released,
    Stage,
    Succeeded,
    Throttled,
    Verdict,
)
from visionjobs.v1 import executor_service_pb2 as pb
from visionjobs.v1 import job_pb2

ATTEMPT = assignment().attempt_id
CODEC = mapping.OutcomeMessages()


def outcome(verdict: Verdict, **changes: object) -> Outcome:
    fields: dict[str, object] = {"attempt_id": ATTEMPT, "verdict": verdict, "finish_time": EPOCH}
    return Outcome(**fields | changes)  # type: ignore[arg-type]


def encoded(verdict: Verdict, **changes: object) -> pb.Outcome:
    return pb.Outcome.FromString(CODEC.encode(outcome(verdict, **changes)))


def test_an_assignment_is_read_whole() -> None:
    message = pb.Assignment(
        ref=pb.AttemptRef(job_id="j", attempt=2),
        step=1,
        steps=2,
        lane="gemini/gemini-3.8-flash",
        spec=job_pb2.JobSpec(
            images=[
                job_pb2.Image(sha256="ab", mime_type="image/png"),
                job_pb2.Image(uri="https://example.com/a.png"),
            ],
            prompt="p",
            system_instruction="s",
            response_schema_json="{}",
            generation=job_pb2.Generation(temperature=0.0, media_resolution="HIGH"),
        ),
        images=[pb.InlineImage(sha256="ab", data=b"x")],
        traceparent=TRACEPARENT,
        permit_required=True,
    )
    message.timeout.FromMilliseconds(12_500)
    message.start_within.FromMilliseconds(1_250)

    (read,) = mapping.downlink(pb.WorkResponse(assignments=[message])).assignments

    assert read == assignment(
        attempt_id=AttemptId("j", 2),
        prompt="p",
        system_instruction="s",
        schema_json="{}",
        images=(
            ImageRef(sha256="ab", mime_type="image/png"),
            ImageRef(sha256="", mime_type="", uri="https://example.com/a.png"),
        ),
        inline_images={"ab": b"x"},
        generation=Generation(temperature=0.0, media_resolution="HIGH"),
        timeout=datetime.timedelta(seconds=12.5),
        permit_required=True,
        start_within=datetime.timedelta(seconds=1.25),
        steps=2,
    )


def test_a_second_step_brings_what_the_first_gave() -> None:
    message = pb.Assignment(step=2, steps=2, lane="deepseek/deepseek-v4-flash", input_json='{"total":1}')

    (read,) = mapping.downlink(pb.WorkResponse(assignments=[message])).assignments

    assert (read.step, read.steps, read.input_json) == (2, 2, '{"total":1}')
    assert (read.provider, read.model) == ("deepseek", "deepseek-v4-flash")


def test_a_scheduler_that_knows_no_steps_means_the_only_one() -> None:
    (read,) = mapping.downlink(pb.WorkResponse(assignments=[pb.Assignment()])).assignments

    assert (read.step, read.steps, read.input_json) == (1, 1, "")


def test_a_job_that_expires_at_once_is_told_from_one_that_never_does() -> None:
    message = pb.WorkResponse(assignments=[pb.Assignment(), pb.Assignment()])
    message.assignments[0].start_within.FromSeconds(0)

    at_once, never = mapping.downlink(message).assignments

    assert (at_once.start_within, never.start_within) == (datetime.timedelta(0), None)


def test_everything_a_scheduler_says_is_read() -> None:
    ref = pb.AttemptRef(job_id="j", attempt=1)
    message = pb.WorkResponse(
        outcome_acks=[ref], cancels=[ref], withdraws=[ref], heartbeat=pb.Heartbeat(number=7), drain=pb.Drain(reason="r")
    )
    message.welcome.session = 3
    message.welcome.heartbeat_interval.FromSeconds(3)
    message.welcome.superseded.append(ref)
    message.permits.add(ref=ref).validity.FromMilliseconds(500)

    read = mapping.downlink(message)

    attempts = [AttemptId("j", 1)]
    assert (read.acknowledged, read.cancels, read.withdraws) == (attempts, attempts, attempts)
    assert read.permits == [Permit(AttemptId("j", 1), datetime.timedelta(seconds=0.5))]
    assert (read.echoed, read.drain) == (7, "r")
    assert read.welcome is not None
    assert (read.welcome.session, read.welcome.heartbeat_interval, read.welcome.superseded) == (
        3,
        datetime.timedelta(seconds=3),
        attempts,
    )


def test_silence_is_read_as_silence() -> None:
    read = mapping.downlink(pb.WorkResponse())

    assert (read.welcome, read.echoed, read.drain) == (None, None, None)


def test_everything_an_executor_says_fits_in_one_message() -> None:
    (message,) = mapping.requests(
        Uplink(
            hello=Hello(executor_id="e", host="h", version="1", capacity=3, lanes=("gemini/*",), held=[ATTEMPT]),
            credit=Credit(2, 5),
            accepted=[ATTEMPT],
            ready=[ATTEMPT],
            progress=[Progress(ATTEMPT, Stage.GEMINI_ANALYZING, EPOCH + datetime.timedelta(microseconds=1))],
            outcomes=[CODEC.encode(outcome(Succeeded("{}")))],
            withdrawn=[ATTEMPT],
            heartbeat=Heartbeat(3, [ATTEMPT]),
        )
    )

    ref = pb.AttemptRef(job_id=ATTEMPT.job_id, attempt=1)
    assert message.hello == pb.Hello(executor_id="e", host="h", version="1", capacity=3, lanes=["gemini/*"], held=[ref])
    assert message.credit == pb.Credit(free_slots=2, assignments_received=5)
    assert list(message.accepted) == list(message.ready) == list(message.withdrawn) == [ref]
    (progress,) = message.progress
    assert (progress.ref, progress.stage) == (ref, job_pb2.JOB_STAGE_GEMINI_ANALYZING)
    assert progress.time.ToDatetime(datetime.UTC) == EPOCH + datetime.timedelta(microseconds=1)
    assert [each.ref for each in message.outcomes] == [ref]
    assert message.heartbeat == pb.Heartbeat(number=3, lists_held=True, held=[ref])


def test_a_credit_of_nothing_and_a_plain_heartbeat_are_said() -> None:
    (message,) = mapping.requests(Uplink(credit=Credit(0, 0), heartbeat=Heartbeat(1)))

    assert message.HasField("credit")
    assert not message.heartbeat.lists_held


@pytest.mark.parametrize(("count", "size"), [(1_700, 10), (40, 100_000), (3, 2_000_000)])
def test_many_outcomes_go_in_messages_of_at_most_500_and_less_than_a_mebibyte(count: int, size: int) -> None:
    records = [CODEC.encode(outcome(Succeeded("x" * size), attempt_id=AttemptId(f"j{n}", 1))) for n in range(count)]

    messages = list(mapping.requests(Uplink(credit=Credit(1, 1), outcomes=records)))

    assert [each.ref.job_id for message in messages for each in message.outcomes] == [f"j{n}" for n in range(count)]
    assert all(len(message.outcomes) <= 500 for message in messages)
    assert all(message.ByteSize() < 1024 * 1024 or len(message.outcomes) == 1 for message in messages)
    assert len(messages) <= count * (size + 200) / 500_000 + count / 500 + 1


def test_an_outcome_carries_all_that_is_known() -> None:
    message = encoded(
        Succeeded("{}"),
        usage=USAGE,
        model_version="gemini-x",
        stage_seconds={Stage.GEMINI_ANALYZING: 1.25},
        paid=True,
        traceparent=TRACEPARENT,
    )

    assert (message.ref.job_id, message.ref.attempt) == ATTEMPT
    assert message.succeeded.output_json == "{}"
    assert (message.usage.input_tokens, message.usage.output_tokens, message.usage.image_tokens) == (1_200, 20, 1_120)
    assert (message.model_version, message.paid, message.traceparent) == ("gemini-x", True, TRACEPARENT)
    (spent,) = message.stage_durations
    assert (spent.stage, spent.duration.ToTimedelta()) == (4, datetime.timedelta(seconds=1.25))
    assert message.finish_time.ToDatetime(datetime.UTC) == EPOCH


def test_an_outcome_says_of_which_step_it_is_and_what_it_cost() -> None:
    message = encoded(Succeeded("{}"), step=1, steps=2, service_tier="FLEX", unanswered=True)

    assert (message.step, message.steps, message.service_tier, message.unanswered) == (1, 2, "FLEX", True)


def test_a_failure_says_what_is_to_blame() -> None:
    verdict = Failed(
        kind="INVALID_OUTPUT",
        message="m",
        retryable=True,
        flaw="SCHEMA_MISMATCH",
        output_path="items[0].\ud800",
        image_sha256="ab",
        schema_suspected=True,
    )

    failed = encoded(verdict).failed

    assert (failed.flaw, failed.output_path) == ("SCHEMA_MISMATCH", "items[0].?")
    assert (failed.image_sha256, failed.schema_suspected) == ("ab", True)


def test_what_is_not_known_is_not_said() -> None:
    message = encoded(Failed(kind="TIMEOUT", message="m", retryable=True))

    assert not message.HasField("usage")
    assert not message.failed.HasField("retry_after")
    assert not encoded(Throttled(message="m", retry_after=None)).throttled.HasField("retry_after")


def test_a_stop_of_the_lane_is_said() -> None:
    assert encoded(Throttled(message="m", retry_after=None, lane_stop="Why.")).throttled.lane_stop == "Why."
    assert encoded(Throttled(message="m", retry_after=None)).throttled.lane_stop == ""


def test_a_providers_own_time_is_said_also_if_it_is_zero() -> None:
    zero = datetime.timedelta(0)

    assert encoded(Throttled(message="m", retry_after=zero)).throttled.HasField("retry_after")
    failed = encoded(Failed(kind="K", message="m", retryable=True, retry_after=datetime.timedelta(seconds=2)))
    assert failed.failed.retry_after.ToTimedelta() == datetime.timedelta(seconds=2)


@given(words=st.text(st.characters()))
def test_no_words_of_a_provider_make_an_outcome_unsendable(words: str) -> None:
    for verdict in (
        Failed(kind="K", message=words, retryable=True, raw_answer=words),
        Throttled(message=words, retry_after=None, lane_stop=words),
        Released(words),
    ):
        assert CODEC.attempt_id(CODEC.encode(outcome(verdict, model_version=words))) == ATTEMPT


@given(seconds=st.floats(min_value=0, max_value=1e9))
def test_every_duration_can_be_said(seconds: float) -> None:
    (spent,) = encoded(Released(""), stage_seconds={Stage.VALIDATING: seconds}).stage_durations

    assert spent.duration.ToTimedelta().total_seconds() == pytest.approx(seconds, abs=1e-5)


@given(record=st.binary())
def test_a_record_that_is_no_outcome_is_told_from_one(record: bytes) -> None:
    try:
        attempt_id = CODEC.attempt_id(record)
    except ValueError:
        return
    assert attempt_id.job_id
