"""One generateContent request: what the body asks for, or why the real server would refuse it."""

import json
from dataclasses import dataclass
from typing import Any

from devkit.emulator import errors, json_schema, openapi_schema, proto_json

_MIME_TYPES = ("text/plain", "application/json", "application/xml", "application/yaml", "text/x.enum")
_EMULATED_MIME_TYPES = ("text/plain", "application/json")
_ROLES = ("user", "model")


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineImage:
    """An image as it was sent. `resolution` is LOW, MEDIUM, HIGH, ULTRA_HIGH or "" for the default."""

    data: bytes
    mime_type: str
    resolution: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """A sound request.

    Attributes:
        prompt: All texts of `contents`, one a line.
        system_instruction: All texts of it, one a line.
        images: In the order they were sent.
        answer_schema: What the answer must fit, as JSON Schema; None leaves it open.
        schema_text: The schema as the model reads it: it costs input tokens.
        wants_json: Whether the answer must be JSON.
        max_output_tokens: Thoughts included; None is no bound.
        thinking_level: MINIMAL to XHIGH, "" for the model's own.
        include_thoughts: Whether thoughts are told.
        service_tier: As asked for.
    """

    prompt: str
    system_instruction: str
    images: tuple[InlineImage, ...]
    answer_schema: dict[str, Any] | None
    schema_text: str
    wants_json: bool
    max_output_tokens: int | None
    thinking_level: str
    include_thoughts: bool
    service_tier: str


def read_request(body: bytes) -> GenerateRequest:
    """Return what a body asks for.

    Raises:
        ApiError: The real server would refuse it, or the emulator cannot do it.
    """
    try:
        message = proto_json.read_message("GenerateContentRequest", proto_json.parse(body))
        return _request(message)
    except RecursionError:
        raise errors.invalid_argument("the body is nested too deeply") from None


def _request(message: dict[str, Any]) -> GenerateRequest:
    config: dict[str, Any] = message.get("generation_config", {})
    contents = message.get("contents", [])
    _check_contents(contents)
    _check_config(config)
    parts = [part for content in contents for part in content["parts"]]
    asked = config.get("response_schema", config.get("response_json_schema"))
    thinking = config.get("thinking_config", {})
    level = thinking.get("thinking_level", "")
    return GenerateRequest(
        prompt=_texts(parts),
        system_instruction=_texts(message.get("system_instruction", {}).get("parts", [])),
        images=tuple(_image(part, config) for part in parts if "inline_data" in part),
        answer_schema=_answer_schema(config),
        schema_text="" if asked is None else json.dumps(asked),
        wants_json=config.get("response_mime_type") == "application/json",
        max_output_tokens=config.get("max_output_tokens"),
        thinking_level="" if level == "THINKING_LEVEL_UNSPECIFIED" else level,
        include_thoughts=thinking.get("include_thoughts", False),
        service_tier=message.get("service_tier", "standard"),
    )


def _check_contents(contents: list[dict[str, Any]]) -> None:
    if not contents:
        raise errors.invalid_request("contents", "contents is not specified")
    for index, content in enumerate(contents):
        path = f"contents[{index}].parts"
        if content.get("role", "user") not in _ROLES:
            raise errors.invalid_value("Please use a valid role: user, model.")
        if not content.get("parts"):
            raise errors.invalid_request(path, "contents.parts must not be empty.")
        for number, part in enumerate(content["parts"]):
            if "text" not in part and "inline_data" not in part:
                raise errors.invalid_request(
                    f"{path}[{number}].data", "required oneof field 'data' must have one initialized field"
                )


def _check_config(config: dict[str, Any]) -> None:
    if not 0 <= config.get("temperature", 0) <= 2:
        raise errors.invalid_request("generation_config.temperature", "temperature must be in the range [0.0, 2.0].")
    if config.get("max_output_tokens", 1) < 1:
        raise errors.invalid_request("generation_config.max_output_tokens", "max_output_tokens must be positive.")
    if config.get("candidate_count", 1) != 1:
        raise errors.invalid_value("Multiple candidates is not enabled for this model")
    if "thinking_budget" in config.get("thinking_config", {}):
        raise errors.invalid_argument("these models take thinking_level, not thinking_budget")
    mime_type = config.get("response_mime_type", "text/plain")
    if mime_type not in _MIME_TYPES:
        allowed = "`text/plain`, `application/json`, `application/xml`, `application/yaml` and `text/x.enum`"
        raise errors.invalid_request("generation_config.response_mime_type", f"allowed mimetypes are {allowed}.")
    if mime_type not in _EMULATED_MIME_TYPES:
        raise errors.not_emulated(f"the response_mime_type {mime_type}")
    _check_schema_use(config, mime_type)


def _check_schema_use(config: dict[str, Any], mime_type: str) -> None:
    asked = config.keys() & {"response_schema", "response_json_schema"}
    if len(asked) == 2:
        raise errors.invalid_request(
            "generation_config", "only one of response_schema and response_json_schema may be set"
        )
    if asked and mime_type != "application/json":
        raise errors.invalid_value(f"Response schema with response mime type: '{mime_type}' is unsupported")


def _answer_schema(config: dict[str, Any]) -> dict[str, Any] | None:
    if "response_schema" in config:
        return openapi_schema.to_json_schema(config["response_schema"])
    if "response_json_schema" in config:
        return json_schema.checked(config["response_json_schema"])
    return None


def _texts(parts: list[dict[str, Any]]) -> str:
    return "\n".join(part["text"] for part in parts if "text" in part)


def _image(part: dict[str, Any], config: dict[str, Any]) -> InlineImage:
    blob = part["inline_data"]
    resolution = part.get("media_resolution", {}).get("level") or config.get("media_resolution", "")
    return InlineImage(
        data=blob.get("data", b""),
        mime_type=blob.get("mime_type", ""),
        resolution=resolution.removeprefix("MEDIA_RESOLUTION_").replace("UNSPECIFIED", ""),
    )
