"""Every row of the failure table, made to happen by the emulator over real HTTP, as an attempt tells it."""

import asyncio
import contextlib
import datetime
import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from executor_world import FakeImages, FixedRandomness, assignment, local_images

from devkit.emulator.app import create_app
from devkit.emulator.serving import serving
from devkit.emulator.settings import EmulatorSettings
from executor.attempt import Attempt, Interruption
from executor.call_gate import CallGate
from executor.deepseek import client as deepseek_client
from executor.execute import Execute
from executor.gemini import client as gemini_client
from executor.ports import ModelClient, Progress
from executor.provider_key import ProviderKeys
from executor.slots import Slots
from executor.spans import Spans
from executor.validation import Validators
from executor.work import Failed, Generation, Outcome, Released, Succeeded, Throttled
from policies import provider_failures
from policies.failure_rows import LaneEffect, Paid, Row
from runtime.clock import SystemClock
from runtime.tracing import Tracing

KEY = "AIza" + "k" * 35
MODELS = {"gemini": "gemini-3.8-flash", "deepseek": "deepseek-v4-flash"}
ROWS = {row.name: row for row in provider_failures.TABLE}
DAYS = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way to make a row happen, and what is said of it.

    Attributes:
        row: Its name.
        fault: As the emulator's script has it; nothing where the emulator has no part in it.
        kind: Of the failure.
        words: Part of the message.
        seconds: The least and the most time that the provider is said to have named; None for none.
        happening: What else the test does: cancel, or call where nobody listens.
        fields: Of the assignment.
        path: Where in the answer.
    """

    row: str
    fault: Mapping[str, Any] = field(default_factory=dict)
    kind: str
    words: str
    provider: str = "gemini"
    tier: str = ""
    seconds: tuple[float, float] | None = None
    happening: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    path: str = ""

    def __str__(self) -> str:
        return f"{self.row}-{self.provider}-{self.fault.get('kind', self.happening)}"


def case(row: str, fault: str, kind: str, words: str, **more: Any) -> Case:
    options = {name: more.pop(name) for name in list(more) if name in Case.__dataclass_fields__}
    return Case(row=row, fault={"kind": fault, **more}, kind=kind, words=words, **options)


def deepseek_case(row: str, fault: str, kind: str, words: str, **more: Any) -> Case:
    return case(row, fault, kind, words, provider="deepseek", **more)


def raw(row: str, status: int, body: str, kind: str, words: str, **more: Any) -> Case:
    return case(row, "raw", kind, words, status=status, body=body, **more)


LIMITS = [
    case("payment_required", "402", "THROTTLED", "HTTP 402"),
    deepseek_case("payment_required", "insufficient-balance", "THROTTLED", "HTTP 402: Insufficient Balance"),
    case("credit_depleted", "429-billing", "THROTTLED", "credits are depleted"),
    raw(
        "credit_depleted", 429, '{"error": {"message": "Over the monthly spending cap."}}', "THROTTLED", "spending cap"
    ),
    case("daily_quota", "429-day", "THROTTLED", "HTTP 429", seconds=(1, 25 * 3_600)),
    case("daily_quota", "429-several", "THROTTLED", "HTTP 429", seconds=(1, 25 * 3_600)),
    case("throttled", "429", "THROTTLED", "HTTP 429", retry_seconds=7, seconds=(7, 7)),
    case("throttled", "429-tokens", "THROTTLED", "HTTP 429", retry_seconds=26, seconds=(26, 26)),
    case("throttled", "429-header", "THROTTLED", "HTTP 429", retry_seconds=9, seconds=(9, 9)),
    case("throttled", "429-header-date", "THROTTLED", "HTTP 429", retry_seconds=50, seconds=(40, 52)),
    case("throttled", "429-fractional", "THROTTLED", "HTTP 429", seconds=(600.5, 600.5)),
    case("throttled", "429-huge", "THROTTLED", "HTTP 429", seconds=(30 * DAYS, 30 * DAYS)),
    deepseek_case("throttled", "429-header", "THROTTLED", "HTTP 429", retry_seconds=9, seconds=(9, 9)),
    case("throttled_bare", "429-bare", "THROTTLED", "Resource has been exhausted"),
    case("throttled_bare", "429-help", "THROTTLED", "HTTP 429"),
    case("throttled_bare", "429-negative", "THROTTLED", "HTTP 429"),
    case("throttled_bare", "429-absurd", "THROTTLED", "HTTP 429"),
]

KEYS = [
    case("key_invalid", "400-key", "RELEASED", "API key not valid"),
    case("place_not_served", "400-location", "RELEASED", "User location is not supported"),
    deepseek_case("unauthenticated", "401", "RELEASED", "HTTP 401"),
    case("forbidden", "403", "RELEASED", "does not have permission"),
    case("forbidden", "403-leaked", "RELEASED", "reported as leaked"),
    case("forbidden", "403-disabled", "RELEASED", "has not been used in project"),
    case("model_retired", "404", "THROTTLED", "is not found for API version"),
    case("model_retired", "404-new-users", "THROTTLED", "no longer available"),
    raw(
        "deepseek_model_unknown",
        400,
        '{"error": {"message": "Model Not Exist", "type": "invalid_request_error"}}',
        "THROTTLED",
        "Model Not Exist",
        provider="deepseek",
    ),
]

REQUESTS = [
    case("bad_image", "400-image", "BAD_IMAGE", "Unable to process input image"),
    case("bad_image", "400-image-invalid", "BAD_IMAGE", "image"),
    case("payload_too_large", "413", "BAD_REQUEST", "HTTP 413"),
    case("payload_too_large_400", "400-size", "BAD_REQUEST", "payload size"),
    case("schema_too_complex", "400-states", "BAD_REQUEST", "too many states"),
    case("schema_unknown_name", "400-name", "BAD_REQUEST", "Cannot find field"),
    case("invalid_argument_bare", "400", "BAD_REQUEST", "Request contains an invalid argument."),
    raw("other_4xx", 400, '{"error": {"message": "temperature is out of range"}}', "BAD_REQUEST", "out of range"),
    raw("other_4xx", 418, "", "BAD_REQUEST", "HTTP 418: no message"),
    deepseek_case("deepseek_bad_format", "400", "BAD_REQUEST", "HTTP 400"),
    deepseek_case("deepseek_bad_parameters", "422", "BAD_REQUEST", "HTTP 422"),
]

TROUBLES = [
    case("request_timeout", "408", "PROVIDER_ERROR", "HTTP 408"),
    case("cancelled_by_provider", "499", "PROVIDER_ERROR", "The operation was cancelled."),
    case("internal", "500", "PROVIDER_ERROR", "An internal error has occurred"),
    case("bad_gateway", "502", "PROVIDER_ERROR", "HTTP 502"),
    case("bad_gateway", "html", "PROVIDER_ERROR", "HTTP 502: <html>"),
    case("shed", "503", "SHED", "HTTP 503 UNAVAILABLE", tier="FLEX"),
    case("unavailable", "503", "PROVIDER_ERROR", "The model is overloaded"),
    case("unavailable", "503-service", "PROVIDER_ERROR", "currently unavailable"),
    case("unavailable", "503-deadline", "PROVIDER_ERROR", "Deadline expired"),
    case("unavailable", "503-list", "PROVIDER_ERROR", "The model is overloaded"),
    deepseek_case("internal", "500", "PROVIDER_ERROR", "HTTP 500"),
    deepseek_case("unavailable", "503", "PROVIDER_ERROR", "HTTP 503"),
    case("deadline_exceeded", "504", "PROVIDER_ERROR", "Deadline expired"),
    raw("other_status", 302, "", "PROVIDER_ERROR", "HTTP 302", headers={"location": "/elsewhere"}),
    raw("other_status", 511, "", "PROVIDER_ERROR", "HTTP 511", headers={"retry-after": "5"}, seconds=(5, 5)),
]

WAYS = [
    Case(
        row="unsendable",
        kind="BAD_REQUEST",
        words="cannot be sent",
        provider="deepseek",
        fields={"generation": Generation(temperature=math.nan)},
    ),
    Case(row="not_connected", kind="PROVIDER_ERROR", words="cannot be reached", happening="nobody listens"),
    Case(
        row="not_connected",
        kind="PROVIDER_ERROR",
        words="cannot be reached",
        happening="nobody listens",
        provider="deepseek",
    ),
    case("connection_broken", "reset-before", "PROVIDER_ERROR", "broke the connection"),
    case("connection_broken", "reset-after", "PROVIDER_ERROR", "broke the connection"),
    case("connection_broken", "truncated", "PROVIDER_ERROR", "broke the connection"),
    deepseek_case("connection_broken", "reset-after", "PROVIDER_ERROR", "broke the connection"),
    case("timed_out", "hang", "TIMEOUT", "took longer than 0.5 s", fields={"timeout": datetime.timedelta(seconds=0.5)}),
    case("call_cancelled", "hang", "CANCELLED", "Nobody wants it.", happening="cancel"),
    case("unreadable", "not-json", "PROVIDER_ERROR", "is not JSON"),
    case("unreadable", "huge", "PROVIDER_ERROR", "is larger than 2 MiB"),
    case("unreadable", "gzip-bomb", "PROVIDER_ERROR", "is larger than 2 MiB"),
    raw("unreadable", 200, "[]", "PROVIDER_ERROR", "is not a JSON object"),
    raw("unreadable", 200, "x", "PROVIDER_ERROR", "nobody asked", headers={"content-encoding": "br"}),
    raw(
        "unreadable",
        200,
        "no gzip at all",
        "PROVIDER_ERROR",
        "cannot be decompressed",
        headers={"content-encoding": "gzip"},
    ),
    deepseek_case("unreadable", "not-json", "PROVIDER_ERROR", "is not JSON"),
    deepseek_case("unreadable", "huge", "PROVIDER_ERROR", "is larger than 2 MiB"),
    deepseek_case("unreadable", "gzip-bomb", "PROVIDER_ERROR", "is larger than 2 MiB"),
]


def candidate(text: str) -> str:
    return f'{{"candidates": [{{"finishReason": "STOP", "content": {{"parts": [{{"text": "{text}"}}]}}}}]}}'


INVALID = "INVALID_OUTPUT"
ANSWERS = [
    case("blocked_prompt", "blocked", "BLOCKED", "blocked the request: SAFETY"),
    case("empty", "empty", INVALID, "is empty"),
    case("empty", "no-candidates", INVALID, "is empty"),
    deepseek_case("empty", "empty", INVALID, "is empty"),
    case("looping", "looping", INVALID, "repeats itself"),
    deepseek_case("looping", "looping", INVALID, "repeats itself"),
    case("truncated", "max-tokens", INVALID, "was cut off"),
    case("truncated", "max-tokens-no-parts", INVALID, "was cut off"),
    deepseek_case("truncated", "max-tokens", INVALID, "was cut off"),
    case("blocked_output", "safety", "BLOCKED", "blocked the answer: SAFETY"),
    *(
        case("blocked_output", "finish-reason", "BLOCKED", f"blocked the answer: {reason}", reason=reason)
        for reason in ("BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "MODEL_ARMOR")
    ),
    deepseek_case("blocked_output", "content-filter", "BLOCKED", "blocked the answer: content_filter"),
    case("recitation", "recitation", INVALID, "protected text"),
    deepseek_case("deepseek_no_resources", "insufficient-resource", "PROVIDER_ERROR", "ran out of resources"),
    case("unfinished", "language", INVALID, "ended with LANGUAGE"),
    case("unfinished", "other", INVALID, "ended with OTHER"),
    case("unfinished", "finish-reason", INVALID, "ended with MALFORMED_RESPONSE", reason="MALFORMED_RESPONSE"),
    case("unfinished", "unknown-reason", INVALID, "ended with BRAND_NEW"),
    case("unfinished", "continuation", INVALID, "ended with CONTINUATION"),
    deepseek_case("unfinished", "finish-reason", INVALID, "ended with tool_calls", reason="tool_calls"),
    case("no_text", "no-content", INVALID, "has no text"),
    case("no_text", "no-parts", INVALID, "has no text"),
    case("no_text", "thoughts-only", INVALID, "has no text"),
    deepseek_case("deepseek_blank", "whitespace", INVALID, "is blank"),
    raw("too_long", 200, candidate("1" * 600_000), INVALID, "longer than 524288"),
    case("not_json", "cut-json", INVALID, "is not JSON"),
    case("not_json", "prefixed-json", INVALID, "is not JSON"),
    case("not_json", "deep-json", INVALID, "is not JSON"),
    case("schema_mismatch", "wrong-schema", INVALID, "does not satisfy the schema"),
    case("schema_mismatch", "wrong-value", INVALID, "does not satisfy the schema: total: the value", path="total"),
    deepseek_case("schema_mismatch", "wrong-schema", INVALID, "does not satisfy the schema"),
]

CASES = [*LIMITS, *KEYS, *REQUESTS, *TROUBLES, *WAYS, *ANSWERS]


class Silent:
    """Takes every stage at once."""

    def __init__(self) -> None:
        self.entered: list[str] = []

    def enter(self, progress: Progress) -> None:
        self.entered.append(progress.stage.name)

    def ready(self, attempt_id: object) -> None:
        raise AssertionError(attempt_id)

    async def announce(self, progress: Progress) -> None:
        self.entered.append(progress.stage.name)


class Provider:
    """The emulator, the clients of both providers in front of it, and what was billed."""

    def __init__(self, http: httpx2.AsyncClient, models: Mapping[str, ModelClient]) -> None:
        self.http = http
        self.models = models

    async def script(self, fault: Mapping[str, Any]) -> None:
        (await self.http.delete("/emulator/faults")).raise_for_status()
        if fault:
            added = await self.http.post("/emulator/faults", json={"count": 1, **fault})
            assert added.status_code == 201, added.text

    async def arrived(self) -> None:
        """Wait for a call that hangs."""
        while not (await self.calls())[-1:] or (await self.calls())[-1]["fault"] != "hang":
            await asyncio.sleep(0)

    async def calls(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.http.get("/emulator/calls")).json()["calls"]
        return found

    async def billed(self) -> int:
        count: int = (await self.http.get("/emulator/ledger/count")).json()["count"]
        return count


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[Provider]:
    async with (
        serving(create_app(EmulatorSettings(latency_seconds=0))) as url,
        httpx2.AsyncClient(base_url=url) as http,
        clients(url) as models,
    ):
        yield Provider(http, models)


@pytest.fixture(scope="module")
async def nobody() -> AsyncIterator[Mapping[str, ModelClient]]:
    # Port 9 of this machine: nobody listens.
    async with clients("http://127.0.0.1:9") as models:
        yield models


@contextlib.asynccontextmanager
async def clients(url: str) -> AsyncIterator[Mapping[str, ModelClient]]:
    async with (
        gemini_client.open_client(api_key=KEY, api_version="v1beta", base_url=url, max_connections=4) as gemini,
        deepseek_client.open_client(api_key=KEY, base_url=url, max_connections=4) as deepseek,
    ):
        yield {"gemini": gemini, "deepseek": deepseek}


def execute(models: Mapping[str, ModelClient]) -> Execute:
    clock = SystemClock()
    progress = Silent()
    gate = CallGate(announcer=progress, clock=clock)
    gate.renew_lease(math.inf)
    return Execute(
        models=models,
        images=local_images(FakeImages(), clock),
        validators=Validators(),
        progress=progress,
        gate=gate,
        keys=ProviderKeys(lanes=("gemini/*", "deepseek/*"), slots=Slots(capacity=1), clock=clock),
        spans=Spans(Tracing(randomness=FixedRandomness()), provider_urls={}),
        clock=clock,
    )


def attempt_of(case: Case) -> Attempt:
    fields = {
        "lane": f"{case.provider}/{MODELS[case.provider]}",
        "model": MODELS[case.provider],
        "images": (),
        "inline_images": {},
        "generation": Generation(service_tier=case.tier),
        "prompt": "Answer in json.",
        "input_json": '{"from": "before"}' if case.provider == "deepseek" else "",
    }
    return Attempt(assignment(**{**fields, **case.fields}), clock=SystemClock())


async def outcome_of(case: Case, provider: Provider, nobody: Mapping[str, ModelClient]) -> Outcome:
    await provider.script(case.fault)
    attempt = attempt_of(case)
    models = nobody if case.happening == "nobody listens" else provider.models
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(execute(models).run(attempt))
        if case.happening == "cancel":
            await provider.arrived()
            attempt.interrupt(Interruption.CANCELLED, "Nobody wants it.")
    outcome = running.result()
    assert outcome is not None
    return outcome


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_row_happens_and_is_told_as_the_table_says(
    case: Case, provider: Provider, nobody: Mapping[str, ModelClient]
) -> None:
    row = ROWS[case.row]
    billed = await provider.billed()

    outcome = await outcome_of(case, provider, nobody)

    assert row.kind == case.kind
    assert_verdict(outcome, row, case)
    assert outcome.paid == (row.paid is not Paid.NO)
    assert outcome.unanswered == (row.paid is Paid.MAYBE)
    if row.paid is not Paid.MAYBE and "billed" not in case.fault:
        assert await provider.billed() - billed == (row.paid is Paid.YES)
    assert KEY not in repr(outcome)


def assert_verdict(outcome: Outcome, row: Row, case: Case) -> None:
    match outcome.verdict:
        case Failed() as failed:
            assert (failed.kind, failed.retryable) == (row.kind, row.retryable)
            assert (failed.flaw, failed.schema_suspected) == (row.flaw or "", row.schema_suspected)
            assert failed.output_path == case.path
            assert_time(failed.retry_after, case)
            assert case.words in failed.message
        case Throttled() as throttled:
            assert row.kind == "THROTTLED"
            assert bool(throttled.lane_stop) == (row.lane is LaneEffect.STOP)
            assert_time(throttled.retry_after, case)
            assert case.words in (throttled.lane_stop or throttled.message)
        case Released() as released:
            assert row.refuses_executor
            assert case.words in released.message
        case Succeeded():
            pytest.fail("It succeeded.")


def assert_time(told: datetime.timedelta | None, case: Case) -> None:
    if case.seconds is None:
        assert told is None
    else:
        assert told is not None
        assert case.seconds[0] <= told.total_seconds() <= case.seconds[1]


def test_every_row_of_the_table_happens() -> None:
    assert {case.row for case in CASES} == set(ROWS)


@pytest.mark.parametrize("fault", ["fenced-json"])
async def test_an_answer_in_a_fence_is_an_answer(fault: str, provider: Provider) -> None:
    await provider.script({"kind": fault})

    outcome = await execute(provider.models).run(attempt_of(case("not_json", fault, INVALID, "")))

    assert outcome is not None
    assert isinstance(outcome.verdict, Succeeded)


async def test_a_useless_answer_is_counted_and_tells_its_tier(provider: Provider) -> None:
    given = case("truncated", "max-tokens", INVALID, "", tier="FLEX")

    outcome = await outcome_of(given, provider, {})

    assert outcome.usage is not None
    assert outcome.usage.input_tokens > 0
    assert outcome.service_tier == "FLEX"
    assert outcome.model_version.startswith(MODELS["gemini"])
