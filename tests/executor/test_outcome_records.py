import datetime

from fakes import attempt_id
from hypothesis import given
from hypothesis import strategies as st

from executor.ports import Accepted, Credit, OutcomeReport, Progress
from executor.rpc.mapping import outcome_record, requests
from executor.work import Failed, Outcome, Released, Stage, Succeeded, Throttled, Usage, Verdict
from visionjobs.v1 import executor_service_pb2 as pb

NOW = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
# Surrogates too: a provider's JSON may spell them out.
words = st.text(st.characters(), max_size=50)
verdicts: st.SearchStrategy[Verdict] = st.one_of(
    st.builds(Succeeded, st.text(max_size=50)),
    st.builds(
        Failed,
        kind=st.just("PROVIDER_ERROR"),
        message=words,
        retryable=st.booleans(),
        retry_after_seconds=st.none() | st.floats(0, 1e6),
        raw_answer=words,
    ),
    st.builds(Throttled, words, st.none() | st.floats(0, 1e6)),
    st.builds(Released, words),
)


def outcome(verdict: Verdict) -> Outcome:
    return Outcome(
        attempt_id=attempt_id(),
        verdict=verdict,
        finish_time=NOW,
        traceparent="",
        usage=Usage(input_tokens=1, thinking_tokens=2),
        model_version="m",
        stage_seconds={Stage.GEMINI_ANALYZING: 1.25},
        paid=True,
    )


@given(verdict=verdicts)
def test_whatever_a_provider_says_can_be_recorded(verdict: Verdict) -> None:
    message = pb.Outcome.FromString(outcome_record(outcome(verdict)))

    assert message.WhichOneof("verdict") == type(verdict).__name__.lower()
    assert (message.ref.attempt, message.paid, message.usage.thinking_tokens) == (1, True, 2)
    assert message.stage_durations[0].duration.ToTimedelta().total_seconds() == 1.25


def test_only_the_latest_of_stages_that_wait_together_is_sent() -> None:
    first, second = attempt_id(1), attempt_id(2)

    [message] = requests(
        [
            Progress(first, Stage.FETCHING_IMAGE),
            Progress(second, Stage.FETCHING_IMAGE),
            Progress(first, Stage.GEMINI_ANALYZING),
        ]
    )

    assert [(entry.ref.job_id, int(entry.stage)) for entry in message.progress] == [
        (second.job_id, Stage.FETCHING_IMAGE),
        (first.job_id, Stage.GEMINI_ANALYZING),
    ]


def test_the_latest_credit_of_a_message_counts() -> None:
    [message] = requests([Credit(3, 0), Credit(1, 2)])

    assert (message.credit.free_slots, message.credit.assignments_received) == (1, 2)


def test_messages_stay_under_a_megabyte() -> None:
    payload = outcome_record(outcome(Succeeded("x" * 300_000)))

    messages = list(requests([Accepted(attempt_id()), *[OutcomeReport(payload)] * 10]))

    assert sum(len(message.outcomes) for message in messages) == 10
    assert all(message.ByteSize() < 1024 * 1024 for message in messages)
