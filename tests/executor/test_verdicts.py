import datetime

from hypothesis import given
from hypothesis import strategies as st

from executor import verdicts
from executor.ports import ProviderRefused
from executor.work import Failed, Released, Throttled

NOW = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)


def of_status(status: int, body: str, retry_after: str | None = None) -> object:
    return verdicts.of_error(ProviderRefused(status=status, body=body, retry_after=retry_after), now=NOW)


@given(status=st.integers(100, 599), body=st.text(), retry_after=st.none() | st.text())
def test_every_error_status_has_a_verdict(status: int, body: str, retry_after: str | None) -> None:
    assert isinstance(of_status(status, body, retry_after), Failed | Throttled | Released)


def test_the_providers_words_and_time_go_with_the_failure() -> None:
    body = '{"error": {"message": "The model is overloaded.", "status": "UNAVAILABLE"}}'

    assert of_status(503, body, "7") == Failed(
        kind="PROVIDER_ERROR",
        message="HTTP 503 UNAVAILABLE: The model is overloaded.",
        retryable=True,
        raw_answer=body,
        retry_after=datetime.timedelta(seconds=7),
    )


@given(raw=st.text(alphabet="aé€😀\ud800", min_size=1).map(lambda text: text * (70_000 // len(text))))
def test_the_providers_words_are_cut_to_what_can_be_sent(raw: str) -> None:
    cut = verdicts.cut(raw)

    assert len(cut.encode()) <= verdicts.MAX_RAW_BYTES
    assert raw.encode(errors="replace").decode().startswith(cut)
