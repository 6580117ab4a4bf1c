"""The executor's spans: their names, and what they say. No prompt, image or answer is captured.

| span | parent | attributes |
|---|---|---|
| `attempt` | the dispatch | `visionjobs.job.id`, `visionjobs.job.attempt`, `visionjobs.job.lane` |
| `generate_content {model}`, `chat {model}` | `attempt` | the GenAI client span of https://github.com/open-telemetry/semantic-conventions-genai |

A span of something that failed carries `error.type`: an HTTP status, an error's name, or the kind of the verdict.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from opentelemetry.trace import SpanKind

from executor.ports import ModelAnswer, ModelError, ModelRequest, ProviderRefused
from executor.work import Assignment, Failed, Released, Succeeded, Throttled, Verdict
from runtime.tracing import Span, Tracing

_Attributes = dict[str, str | int | float | bool | list[str]]

_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class _Words:
    """What the conventions call a provider and its calls."""

    provider: str
    operation: str


_WORDS = {"gemini": _Words("gcp.gemini", "generate_content"), "deepseek": _Words("deepseek", "chat")}


class Spans:
    """Makes the spans. Where none are recorded, nothing is computed for them."""

    def __init__(self, tracing: Tracing, *, provider_urls: Mapping[str, str]) -> None:
        self._tracing = tracing
        self._servers = {provider: _server(url) for provider, url in provider_urls.items()}

    def attempt(self, assignment: Assignment) -> contextlib.AbstractContextManager[Span]:
        """Span an attempt."""
        if not self._tracing.recording:
            return contextlib.nullcontext(Span(assignment.traceparent))
        attributes: _Attributes = {
            "visionjobs.job.id": assignment.attempt_id.job_id,
            "visionjobs.job.attempt": assignment.attempt_id.attempt,
            "visionjobs.job.lane": assignment.lane,
        }
        return self._tracing.span("attempt", assignment.traceparent, attributes=attributes)

    def call(self, request: ModelRequest, parent: str) -> contextlib.AbstractContextManager[Span]:
        """Span a paid call; a ModelError that leaves the block marks the span as failed."""
        if not self._tracing.recording:
            return contextlib.nullcontext(Span(parent))
        return self._recorded_call(request, parent)

    @contextlib.contextmanager
    def _recorded_call(self, request: ModelRequest, parent: str) -> Iterator[Span]:
        words = _WORDS.get(request.provider, _Words(request.provider, "chat"))
        attributes: _Attributes = {
            "gen_ai.operation.name": words.operation,
            "gen_ai.provider.name": words.provider,
            "gen_ai.request.model": request.model,
            "gen_ai.output.type": "json",
            **self._servers.get(request.provider, {}),
        }
        if request.generation.temperature is not None:
            attributes["gen_ai.request.temperature"] = request.generation.temperature
        if request.generation.max_output_tokens is not None:
            attributes["gen_ai.request.max_tokens"] = request.generation.max_output_tokens
        with self._tracing.span(
            f"{words.operation} {request.model}", parent, kind=SpanKind.CLIENT, attributes=attributes
        ) as span:
            try:
                yield span
            except ModelError as error:
                kind = str(error.status) if isinstance(error, ProviderRefused) else type(error).__name__
                span.fail(kind, "")
                raise


def _server(provider_url: str) -> _Attributes:
    url = urlsplit(provider_url)
    # Of the address only what names it: the rest may hold a key.
    return {"server.address": url.hostname or "", "server.port": url.port or _DEFAULT_PORTS.get(url.scheme, 443)}


def describe_answer(span: Span, answer: ModelAnswer) -> None:
    """Say on the call's span what came back."""
    if span.otel is None:
        return
    attributes: _Attributes = {}
    if answer.model_version:
        attributes["gen_ai.response.model"] = answer.model_version
    if answer.response_id:
        attributes["gen_ai.response.id"] = answer.response_id
    if answer.finish_reason:
        attributes["gen_ai.response.finish_reasons"] = [answer.finish_reason]
    if answer.usage is not None:
        attributes["gen_ai.usage.input_tokens"] = answer.usage.input_tokens
        # The conventions count thinking as output, and then once more by itself.
        attributes["gen_ai.usage.output_tokens"] = answer.usage.output_tokens + answer.usage.thinking_tokens
        attributes["gen_ai.usage.reasoning.output_tokens"] = answer.usage.thinking_tokens
        attributes["gen_ai.usage.cache_read.input_tokens"] = answer.usage.cached_tokens
    span.set(attributes)


def describe_verdict(span: Span, verdict: Verdict | None) -> None:
    """Say on the attempt's span how it ended."""
    match verdict:
        case Succeeded() | None:
            return
        case Failed(kind=kind, message=message):
            span.fail(kind, message)
        case Throttled(message=message):
            span.fail("THROTTLED", message)
        case Released(message=message):
            span.fail("RELEASED", message)
