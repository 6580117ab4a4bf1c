import datetime

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from runtime.randomness import SystemRandomness
from runtime.tracing import Tracing, trace_id_of

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOW = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)


@pytest.fixture
def carrying() -> Tracing:
    return Tracing(randomness=SystemRandomness())


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def recording(exporter: InMemorySpanExporter) -> Tracing:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(randomness=SystemRandomness(), provider=provider)


def test_a_callers_trace_is_continued(carrying: Tracing) -> None:
    assert carrying.continue_or_begin(CALLER) == CALLER


@pytest.mark.parametrize(
    "junk", [None, "", "junk", "ff" + CALLER[2:], CALLER.replace("0af7", "ZZZZ"), f"00-{'0' * 32}-{'1' * 16}-01"]
)
def test_an_invalid_context_begins_a_new_trace(carrying: Tracing, junk: str | None) -> None:
    first, second = carrying.continue_or_begin(junk), carrying.continue_or_begin(junk)

    assert trace_id_of(first) != trace_id_of(second)
    assert carrying.continue_or_begin(first) == first


def test_without_an_exporter_the_context_is_only_carried(carrying: Tracing) -> None:
    with carrying.span("work", CALLER) as span:
        assert span.traceparent == CALLER
    assert carrying.record("past", CALLER, start=NOW, end=NOW) == CALLER


def test_a_span_is_a_child_of_the_context_it_was_given(recording: Tracing, exporter: InMemorySpanExporter) -> None:
    with recording.span("outer", CALLER) as outer, recording.span("inner", outer.traceparent) as inner:
        inner.fail("TIMEOUT", "too late")

    inner_span, outer_span = exporter.get_finished_spans()
    assert inner_span.parent is not None
    assert inner_span.parent.span_id == outer_span.context.span_id
    assert f"{outer_span.context.trace_id:032x}" == trace_id_of(CALLER)
    assert inner_span.attributes == {"error.type": "TIMEOUT"}
    assert not inner_span.status.is_ok


def test_a_past_span_keeps_its_times(recording: Tracing, exporter: InMemorySpanExporter) -> None:
    recording.record("queue wait", CALLER, start=NOW, end=NOW + datetime.timedelta(seconds=2))

    [span] = exporter.get_finished_spans()
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time - span.start_time == 2_000_000_000


def test_an_exception_is_not_quoted_in_a_span(recording: Tracing, exporter: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="secret"), recording.span("work", CALLER):
        raise ValueError("secret")

    [span] = exporter.get_finished_spans()
    assert span.events == ()
