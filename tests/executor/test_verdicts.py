import datetime
import json

import pytest
from executor_world import answer, assignment
from hypothesis import given
from hypothesis import strategies as st

from executor import verdicts
from executor.ports import ConnectionBroken, ModelError, ProviderRefused, UnreadableAnswer
from executor.work import Assignment, Failed, Generation, ImageRef, Released, Throttled, Verdict

NOW = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)
KEYS = ["AIza" + "x" * 35, "sk-" + "0123456789abcdef" * 2, "vj_0123456789ab_" + "0" * 64]
PROMPT = 'Read the "receipt"\nof Zoë.'


def of_status(status: int, body: str, retry_after: str | None = None, job: Assignment | None = None) -> Verdict:
    error = ProviderRefused(status=status, body=body, retry_after=retry_after)
    return verdicts.of_error(error, job or assignment(), now=NOW)


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


def test_what_the_tier_and_the_provider_of_the_job_mean_is_known() -> None:
    flex = assignment(generation=Generation(service_tier="FLEX"))
    second = assignment(lane="deepseek/deepseek-v4-flash")

    assert isinstance(of_status(503, "", job=flex), Failed)
    assert of_status(503, "", job=flex).kind == "SHED"  # type: ignore[union-attr]
    assert of_status(422, "", job=second).kind == "BAD_REQUEST"  # type: ignore[union-attr]


@pytest.mark.parametrize(("images", "blamed"), [("aa", "a"), ("ab", ""), ("", "")])
def test_an_image_that_the_provider_refuses_is_named_where_it_is_the_only_one(images: str, blamed: str) -> None:
    job = assignment(images=tuple(ImageRef(sha256=letter * 64, mime_type="image/png") for letter in images))

    verdict = of_status(400, '{"error": {"message": "Unable to process input image."}}', job=job)

    assert isinstance(verdict, Failed)
    assert (verdict.kind, verdict.image_sha256) == ("BAD_IMAGE", blamed * 64)


def test_no_image_is_blamed_for_another_refusal() -> None:
    job = assignment(images=(ImageRef(sha256="a" * 64, mime_type="image/png"),))

    assert of_status(413, "", job=job).image_sha256 == ""  # type: ignore[union-attr]


def words_of(verdict: Verdict) -> str:
    assert isinstance(verdict, Failed | Throttled | Released)
    return repr(verdict)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("status", [400, 401, 402, 429, 500])
def test_a_key_that_a_provider_quotes_is_taken_out(status: int, key: str) -> None:
    body = json.dumps({"error": {"message": f"Your api key {key} is no good."}})

    words = words_of(of_status(status, body))

    assert key[16:] not in words
    assert "[redacted]" in words


def test_a_key_of_whatever_form_is_taken_out_of_what_its_provider_says() -> None:
    key = "a/key~of-a-gateway"

    for error in errors_quoting(key):
        words = repr(verdicts.of_error(error, assignment(), now=NOW, key=key))
        assert key not in words
        assert "[redacted]" in words


def errors_quoting(text: str) -> list[ModelError]:
    body = json.dumps({"error": {"message": f"I was told: {text}"}})
    return [
        *(ProviderRefused(status=status, body=body, retry_after=None) for status in (400, 401, 402, 500)),
        ProviderRefused(status=500, body=f"<p>{text}</p>", retry_after=None),
        ProviderRefused(status=500, body=json.dumps({"error": {"message": "x" * 990 + text}}), retry_after=None),
        UnreadableAnswer("no JSON", body=body),
        ConnectionBroken(f"broken: {text}"),
    ]


@pytest.mark.parametrize("error", errors_quoting(PROMPT))
def test_a_prompt_that_a_provider_quotes_is_taken_out(error: ModelError) -> None:
    job = assignment(prompt=PROMPT, system_instruction="", input_json="")

    words = words_of(verdicts.of_error(error, job, now=NOW))

    assert "receipt" not in words
    assert "[redacted]" in words or "[redac" in words


def test_a_short_prompt_is_not_looked_for_in_ordinary_words() -> None:
    verdict = of_status(500, "an error", job=assignment(prompt="a"))

    assert isinstance(verdict, Failed)
    assert verdict.message == "HTTP 500: an error"


def test_a_prompt_that_is_escaped_in_another_way_is_taken_out_of_the_message() -> None:
    body = '{"error": {"message": "I was told: Read the \\u003cb\\u003ereceipt"}}'

    verdict = of_status(500, body, job=assignment(prompt="Read the <b>receipt"))

    assert isinstance(verdict, Failed)
    assert verdict.message == "HTTP 500: I was told: [redacted]"


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_an_answer_quotes_is_not_kept(key: str) -> None:
    verdict = verdicts.of_answer(answer(key, finish_reason="MAX_TOKENS"), "gemini")

    assert verdict is not None
    assert "[redacted]" in verdict.raw_answer
    assert key[16:] not in verdict.raw_answer
