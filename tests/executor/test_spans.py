from dataclasses import replace

import pytest
from executor_world import SCHEMA, TRACEPARENT, USAGE, answer, assignment
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from executor import spans
from executor.ports import ConnectionBroken, ModelRequest, ProviderRefused
from executor.spans import Spans
from executor.work import Failed, Generation, Released, Succeeded
from runtime.randomness import SystemRandomness
from runtime.tracing import Tracing, trace_id_of

REQUEST = ModelRequest(
    provider="gemini",
    model="gemini-3.8-flash",
    prompt="secret prompt",
    system_instruction="secret instruction",
    images=(),
    schema_json=SCHEMA,
    generation=Generation(temperature=0.5, max_output_tokens=100),
    timeout=assignment().timeout,
)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def recorded(exporter: InMemorySpanExporter) -> Spans:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Spans(
        Tracing(randomness=SystemRandomness(), provider=provider),
        provider_urls={"gemini": "http://emulator:8090", "deepseek": "https://user:secret@other"},
    )


def only(exporter: InMemorySpanExporter) -> ReadableSpan:
    (span,) = exporter.get_finished_spans()
    return span


def test_an_attempt_and_its_call_stand_in_the_trace_of_the_job(recorded: Spans, exporter: InMemorySpanExporter) -> None:
    with recorded.attempt(assignment()) as attempt, recorded.call(REQUEST, attempt.traceparent):
        pass

    call, outer = exporter.get_finished_spans()
    assert (outer.name, call.name) == ("attempt", "generate_content gemini-3.8-flash")
    assert f"{outer.context.trace_id:032x}" == trace_id_of(TRACEPARENT)
    assert call.parent is not None
    assert call.parent.span_id == outer.context.span_id
    assert attempt.traceparent.split("-")[2] == f"{outer.context.span_id:016x}"
    assert outer.attributes == {
        "visionjobs.job.id": assignment().attempt_id.job_id,
        "visionjobs.job.attempt": 1,
        "visionjobs.job.lane": "gemini/gemini-3.8-flash",
    }


def test_a_call_is_described_by_the_conventions_and_quotes_nobody(
    recorded: Spans, exporter: InMemorySpanExporter
) -> None:
    with recorded.call(REQUEST, TRACEPARENT) as span:
        spans.describe_answer(span, answer(response_id="r-1"))

    call = only(exporter)
    assert call.kind is SpanKind.CLIENT
    assert call.attributes == {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": "gemini-3.8-flash",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.output.type": "json",
        "server.address": "emulator",
        "server.port": 8090,
        "gen_ai.response.model": "fake",
        "gen_ai.response.id": "r-1",
        "gen_ai.response.finish_reasons": ("STOP",),
        "gen_ai.usage.input_tokens": USAGE.input_tokens,
        "gen_ai.usage.output_tokens": USAGE.output_tokens,
        "gen_ai.usage.reasoning.output_tokens": 0,
        "gen_ai.usage.cache_read.input_tokens": 0,
    }


def test_a_call_of_the_second_step_names_its_own_provider(recorded: Spans, exporter: InMemorySpanExporter) -> None:
    with recorded.call(replace(REQUEST, provider="deepseek", model="deepseek-v4-flash"), TRACEPARENT):
        pass

    call = only(exporter)
    assert call.name == "chat deepseek-v4-flash"
    assert call.attributes is not None
    assert call.attributes["gen_ai.operation.name"] == "chat"
    assert call.attributes["gen_ai.provider.name"] == "deepseek"
    assert (call.attributes["server.address"], call.attributes["server.port"]) == ("other", 443)
    assert "secret" not in call.to_json()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ProviderRefused(status=429, body="secret", retry_after=None), "429"),
        (ConnectionBroken("secret"), "ConnectionBroken"),
    ],
)
def test_a_call_that_failed_says_how_and_quotes_nobody(
    recorded: Spans, exporter: InMemorySpanExporter, error: Exception, kind: str
) -> None:
    with pytest.raises(type(error)), recorded.call(REQUEST, TRACEPARENT):
        raise error

    call = only(exporter)
    assert call.attributes is not None
    assert call.attributes["error.type"] == kind
    assert not call.status.is_ok
    assert "secret" not in call.to_json()


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [
        (Succeeded("{}"), None),
        (None, None),
        (Released("r"), "RELEASED"),
        (Failed(kind="TIMEOUT", message="m", retryable=True), "TIMEOUT"),
    ],
)
def test_an_attempt_says_how_it_ended(
    recorded: Spans, exporter: InMemorySpanExporter, verdict: Succeeded | Released | Failed | None, kind: str | None
) -> None:
    with recorded.attempt(assignment()) as span:
        spans.describe_verdict(span, verdict)

    attributes = only(exporter).attributes
    assert attributes is not None
    assert attributes.get("error.type") == kind


def test_where_nothing_is_recorded_the_context_is_carried_on() -> None:
    silent = Spans(Tracing(randomness=SystemRandomness()), provider_urls={"gemini": "https://provider"})

    with silent.attempt(assignment()) as attempt, silent.call(REQUEST, attempt.traceparent) as call:
        spans.describe_answer(call, answer())

    assert attempt.traceparent == call.traceparent == TRACEPARENT
