"""How a provider is met over HTTP: what a broken call means, and how much of an answer is read at all.

Nothing here is repeated, and no redirect is followed: every request may be paid.
"""

import httpx2

from executor.ports import ConnectionBroken, ModelError, NotConnected, ProviderRefused, UnreadableAnswer

MAX_ERROR_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 2 * 1024 * 1024
MAX_VALUES = 80_000
"""More than any answer of 65,536 tokens has. To read JSON costs by the value, and stops everything else meanwhile."""

# The request was not sent: there was no connection, or none was free.
_NOT_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)


def model_error(error: httpx2.HTTPError) -> ModelError:
    """Return what a call that broke means."""
    if isinstance(error, _NOT_SENT):
        return NotConnected(_message("cannot be reached", error))
    return ConnectionBroken(_message("broke the connection", error))


async def raise_for_status(response: httpx2.Response) -> None:
    """Raise ProviderRefused for anything but a 200, with the beginning of its body."""
    if response.status_code == httpx2.codes.OK:
        return
    body = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) >= MAX_ERROR_BYTES:
                break
    except httpx2.HTTPError:
        # The status is an answer, also where its body never came.
        body += b" [cut off]"
    raise ProviderRefused(
        status=response.status_code,
        body=body[:MAX_ERROR_BYTES].decode(errors="replace"),
        retry_after=response.headers.get("retry-after"),
    )


async def answer_text(response: httpx2.Response) -> str:
    """Return the body of a 200. Raises httpx2.HTTPError, and UnreadableAnswer for one without end or sense."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise _too_large(body, f"is larger than {MAX_ANSWER_BYTES // 1024**2} MiB")
    if body.count(b",") > MAX_VALUES:
        raise _too_large(body, f"has more than {MAX_VALUES} values")
    return body.decode(errors="replace")


def _too_large(body: bytearray, what: str) -> UnreadableAnswer:
    beginning = body[:MAX_ERROR_BYTES].decode(errors="replace")
    return UnreadableAnswer(f"The provider's answer {what}.", body=beginning)


def _message(what: str, error: Exception) -> str:
    detail = str(error)[:200]
    return f"The provider {what}: {type(error).__name__}{': ' + detail if detail else ''}."
