"""The provider's edge: one google-genai client, in native schema mode.

The SDK blocks its event loop while it encodes a request (115 ms for an image of 5 MB), so it has a loop and a thread
of its own: heartbeats go on meanwhile. The SDK's retries, continuations and function calls are off: each call is paid,
and it is the scheduler that decides whether there is another one.
"""

import asyncio
import datetime
import json
import threading
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Self, TypeVar, assert_never

import httpx2
from google import genai
from google.genai import errors, types

from executor.ports import Answer, CallFailed
from executor.work import Assignment, Failed, Released, Throttled, Usage
from policies import wire_schema
from policies.provider_failures import Fails, RefusesExecutor, Throttles, of_answer, of_status
from runtime.clock import Clock

_Result = TypeVar("_Result")

# The server is told a little less than the deadline, so that it is the one that gives up first.
_MARGIN_SECONDS = 2.0


class GeminiClient:
    """Implements ports.ModelClient. Use it as an async context manager."""

    def __init__(
        self, *, api_key: str, api_version: str, base_url: str | None, max_connections: int, clock: Clock
    ) -> None:
        self._api_key = api_key
        self._api_version = api_version
        self._base_url = base_url
        self._max_connections = max_connections
        self._clock = clock
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gemini", daemon=True)
        self._http: httpx2.AsyncClient | None = None
        self._client: genai.Client | None = None

    async def __aenter__(self) -> Self:
        self._thread.start()
        self._client = await self._elsewhere(self._open())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._elsewhere(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()

    async def analyze(self, assignment: Assignment, images: Sequence[tuple[str, bytes]]) -> Answer:
        try:
            async with asyncio.timeout(assignment.timeout_seconds):
                return await self._elsewhere(self._generate(assignment, images))
        except TimeoutError:
            message = f"Gemini did not answer within {assignment.timeout_seconds:g} s."
            raise CallFailed(Failed(kind="TIMEOUT", message=message, retryable=True), paid=True) from None

    async def _elsewhere(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run on the SDK's loop; a cancellation here cancels it there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _open(self) -> genai.Client:
        limits = httpx2.Limits(max_connections=self._max_connections, max_keepalive_connections=self._max_connections)
        # Chosen here: left alone, the SDK takes whichever library happens to be installed.
        self._http = httpx2.AsyncClient(limits=limits, timeout=None)
        return genai.Client(
            api_key=self._api_key,
            http_options=types.HttpOptions(
                base_url=self._base_url,
                api_version=self._api_version,
                httpx_async_client=self._http,
                retry_options=types.HttpRetryOptions(attempts=1),
            ),
        )

    async def _close(self) -> None:
        if self._client is not None:
            await self._client.aio.aclose()
            self._client.close()
        if self._http is not None:
            # The SDK leaves a client that it was given to its owner.
            await self._http.aclose()

    async def _generate(self, assignment: Assignment, images: Sequence[tuple[str, bytes]]) -> Answer:
        assert self._client is not None
        contents: list[types.PartUnionDict] = [
            *(types.Part.from_bytes(data=data, mime_type=mime_type) for mime_type, data in images),
            types.Part.from_text(text=assignment.prompt),
        ]
        try:
            response = await self._client.aio.models.generate_content(
                model=assignment.model, contents=contents, config=_config(assignment)
            )
        except errors.APIError as error:
            raise _refused(error, self._clock.now()) from None
        except httpx2.ConnectError as error:
            # Nothing was sent, so nothing can have been billed.
            raise _broken(error, paid=False) from None
        except (httpx2.HTTPError, errors.UnknownApiResponseError) as error:
            raise _broken(error, paid=True) from None
        except ValueError as error:
            # A 200 that is not JSON, or not what the SDK expects in it.
            raise _unreadable(error) from None
        return _answer(response)


def _config(assignment: Assignment) -> types.GenerateContentConfig:
    generation = assignment.generation
    server_seconds = max(assignment.timeout_seconds - _MARGIN_SECONDS, 10.0)
    return types.GenerateContentConfig(
        http_options=types.HttpOptions(timeout=int(server_seconds * 1000)),
        system_instruction=assignment.system_instruction or None,
        temperature=generation.temperature,
        max_output_tokens=generation.max_output_tokens,
        media_resolution=_prefixed("MEDIA_RESOLUTION_", generation.media_resolution, types.MediaResolution),
        thinking_config=_thinking(generation.thinking_level),
        service_tier=types.ServiceTier(generation.service_tier.lower()) if generation.service_tier else None,
        response_mime_type="application/json",
        response_json_schema=wire_schema.derive(json.loads(assignment.schema_json)),
        automatic_continuation=False,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )


def _prefixed(prefix: str, value: str, kind: type[types.MediaResolution]) -> types.MediaResolution | None:
    return kind(f"{prefix}{value}") if value else None


def _thinking(level: str) -> types.ThinkingConfig | None:
    return types.ThinkingConfig(thinking_level=types.ThinkingLevel(level)) if level else None


def _answer(response: types.GenerateContentResponse) -> Answer:
    candidates = response.candidates or []
    candidate = candidates[0] if candidates else None
    parts = (candidate.content.parts if candidate and candidate.content else None) or []
    text = "".join(part.text for part in parts if part.text and not part.thought)
    finish_reason = _word(candidate.finish_reason if candidate else None)
    feedback = response.prompt_feedback
    usage, model_version = _usage(response.usage_metadata), response.model_version or ""
    failure = of_answer(
        block_reason=_word(feedback.block_reason if feedback else None),
        finish_reason=finish_reason,
        has_text=bool(text.strip()),
    )
    if failure is not None:
        raise CallFailed(_failed(failure, raw_answer=text), paid=True, usage=usage, model_version=model_version)
    return Answer(
        text=text,
        usage=usage,
        model_version=model_version,
        response_id=response.response_id or "",
        finish_reason=finish_reason,
    )


def _usage(metadata: types.GenerateContentResponseUsageMetadata | None) -> Usage:
    if metadata is None:
        return Usage()
    return Usage(
        input_tokens=metadata.prompt_token_count or 0,
        output_tokens=metadata.candidates_token_count or 0,
        thinking_tokens=metadata.thoughts_token_count or 0,
        cached_tokens=metadata.cached_content_token_count or 0,
        image_tokens=sum(
            detail.token_count or 0
            for detail in metadata.prompt_tokens_details or []
            if _word(detail.modality) == "IMAGE"
        ),
    )


def _word(value: object) -> str:
    """Return an enum's value; the SDK makes members of its own for values it does not know."""
    return str(getattr(value, "value", value) or "")


def _refused(error: errors.APIError, now: datetime.datetime) -> CallFailed:
    headers: Mapping[str, str] = getattr(error.response, "headers", None) or {}
    meaning = of_status(
        error.code, json.dumps(error.details, default=str), retry_after=headers.get("retry-after"), now=now
    )
    match meaning:
        case Throttles():
            return CallFailed(Throttled(meaning.message, meaning.retry_after_seconds), paid=False)
        case RefusesExecutor():
            verdict = Released(f"This executor's key is refused: {meaning.message}")
            return CallFailed(verdict, paid=False, refuses_key=True)
        case Fails():
            return CallFailed(_failed(meaning), paid=False)
        case _:
            assert_never(meaning)


def _broken(error: Exception, *, paid: bool) -> CallFailed:
    message = f"The connection to Gemini failed: {type(error).__name__}"
    return CallFailed(Failed(kind="PROVIDER_ERROR", message=message, retryable=True), paid=paid)


def _unreadable(error: ValueError) -> CallFailed:
    message = f"Gemini's answer could not be read: {type(error).__name__}"
    return CallFailed(Failed(kind="PROVIDER_ERROR", message=message, retryable=True), paid=True)


def _failed(meaning: Fails, *, raw_answer: str = "") -> Failed:
    return Failed(
        kind=meaning.kind,
        message=meaning.message,
        retryable=meaning.retryable,
        retry_after_seconds=meaning.retry_after_seconds,
        raw_answer=raw_answer[: 64 * 1024],
    )
