"""The names of an executor's spans and attributes.

GenAI semantic conventions (status: development), https://github.com/open-telemetry/semantic-conventions-genai. Prompts
and answers are never recorded.
"""

from executor.ports import Answer
from executor.work import Assignment, Usage
from runtime.tracing import Attributes

ATTEMPT = "attempt"
_OPERATION = "generate_content"


def attempt_attributes(assignment: Assignment) -> Attributes:
    return {
        "visionjobs.job.id": assignment.attempt_id.job_id,
        "visionjobs.job.attempt": assignment.attempt_id.attempt,
    }


def call_name(assignment: Assignment) -> str:
    return f"{_OPERATION} {assignment.model}"


def call_attributes(assignment: Assignment) -> Attributes:
    attributes: dict[str, str | int | float | bool | list[str]] = {
        "gen_ai.operation.name": _OPERATION,
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": assignment.model,
        "gen_ai.output.type": "json",
    }
    generation = assignment.generation
    if generation.temperature is not None:
        attributes["gen_ai.request.temperature"] = generation.temperature
    if generation.max_output_tokens is not None:
        attributes["gen_ai.request.max_tokens"] = generation.max_output_tokens
    return attributes


def answer_attributes(answer: Answer) -> Attributes:
    return {
        **usage_attributes(answer.usage, answer.model_version),
        "gen_ai.response.id": answer.response_id,
        "gen_ai.response.finish_reasons": [answer.finish_reason],
    }


def usage_attributes(usage: Usage | None, model_version: str) -> Attributes:
    attributes: dict[str, str | int | float | bool | list[str]] = {}
    if model_version:
        attributes["gen_ai.response.model"] = model_version
    if usage is not None:
        attributes |= {
            "gen_ai.usage.input_tokens": usage.input_tokens,
            # The conventions count thinking as output.
            "gen_ai.usage.output_tokens": usage.output_tokens + usage.thinking_tokens,
            "gen_ai.usage.reasoning.output_tokens": usage.thinking_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        }
    return attributes
