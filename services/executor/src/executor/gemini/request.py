"""A request in the words of the google-genai SDK."""

import json
import math
from collections import OrderedDict

from google.genai import types

from executor.ports import ModelImage, ModelRequest, UnsendableRequest
from executor.work import Generation
from policies import wire_schema

MAX_DERIVED = 256

_ULTRA_HIGH = "ULTRA_HIGH"


class WireSchemas:
    """What Gemini is told of a schema, by the schema's text; the latest used ones are kept."""

    def __init__(self, *, max_derived: int = MAX_DERIVED) -> None:
        self._max_derived = max_derived
        self._derived: OrderedDict[str, dict[str, object]] = OrderedDict()

    def of(self, schema_json: str) -> dict[str, object]:
        """Return the schema to send. Raises UnsendableRequest."""
        derived = self._derived.get(schema_json)
        if derived is None:
            derived = self._derived[schema_json] = _derive(schema_json)
            if len(self._derived) > self._max_derived:
                self._derived.popitem(last=False)
        else:
            self._derived.move_to_end(schema_json)
        return derived


def contents(request: ModelRequest) -> list[types.Content]:
    """Return the images as they are, then the prompt as the only text."""
    resolution = _part_resolution(request.generation.media_resolution)
    parts = [_image_part(image, resolution) for image in request.images]
    return [types.Content(role="user", parts=[*parts, types.Part(text=request.prompt)])]


def config(request: ModelRequest, schema: dict[str, object]) -> types.GenerateContentConfig:
    """Return the options of the call: exactly one request to the provider, whose answer is given as it came."""
    generation = request.generation
    return types.GenerateContentConfig(
        # The server's own time limit. The SDK's timeout would be one for each operation on the socket besides.
        http_options=types.HttpOptions(headers={"X-Server-Timeout": _whole_seconds(request)}),
        system_instruction=request.system_instruction or None,
        temperature=generation.temperature,
        max_output_tokens=generation.max_output_tokens,
        media_resolution=_call_resolution(generation.media_resolution),
        thinking_config=_thinking(generation),
        service_tier=types.ServiceTier(generation.service_tier.lower()) if generation.service_tier else None,
        response_mime_type="application/json",
        response_json_schema=schema,
        # One call is one request: what goes on after it is the scheduler's decision.
        automatic_continuation=False,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        # The SDK's own reading of an answer fails on what it does not expect, and forgets the body.
        should_return_http_response=True,
    )


def _derive(schema_json: str) -> dict[str, object]:
    try:
        return wire_schema.derive(json.loads(schema_json))
    except (ValueError, wire_schema.UnderivableSchema) as error:
        raise UnsendableRequest(f"The schema cannot be told to the model: {error}") from None


def _image_part(image: ModelImage, resolution: types.PartMediaResolution | None) -> types.Part:
    return types.Part(inline_data=types.Blob(data=image.data, mime_type=image.mime_type), media_resolution=resolution)


def _part_resolution(name: str) -> types.PartMediaResolution | None:
    # The highest resolution is known for single parts only, the others for a whole call.
    if name != _ULTRA_HIGH:
        return None
    return types.PartMediaResolution(level=types.PartMediaResolutionLevel.MEDIA_RESOLUTION_ULTRA_HIGH)


def _call_resolution(name: str) -> types.MediaResolution | None:
    return None if name in ("", _ULTRA_HIGH) else types.MediaResolution(f"MEDIA_RESOLUTION_{name}")


def _thinking(generation: Generation) -> types.ThinkingConfig | None:
    if not generation.thinking_level:
        return None
    return types.ThinkingConfig(thinking_level=types.ThinkingLevel(generation.thinking_level))


def _whole_seconds(request: ModelRequest) -> str:
    return str(math.ceil(request.timeout.total_seconds()))
