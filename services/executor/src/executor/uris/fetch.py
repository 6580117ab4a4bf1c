"""Fetches one image from the web, within a time and a size, and through few redirects, each judged anew.

No cookie, key or certificate of ours goes along, and no variable of the environment names a proxy.
"""

import asyncio
import contextlib
import http
import ssl
from collections.abc import AsyncIterator, Mapping

import httpcore2
import httpx2

from executor.ports import BadImage, ImageUnavailable
from executor.uris.connections import AddressRefused, JudgedNetwork, NameNotFound
from executor.uris.hosts import Hosts, shown

MAX_BYTES = 20 * 1024 * 1024
MAX_REDIRECTS = 5

_HEADERS: Mapping[bytes | str, bytes | str] = {
    "Accept": "image/*",
    "Accept-Encoding": "identity",
    "User-Agent": "visionjobs-executor",
}
_REDIRECTS = (301, 302, 303, 307, 308)
_RETRYABLE = (
    http.HTTPStatus.REQUEST_TIMEOUT,
    http.HTTPStatus.TOO_EARLY,
    http.HTTPStatus.TOO_MANY_REQUESTS,
)


class UriImages:
    """Implements ports.UriSource."""

    def __init__(self, *, hosts: Hosts, network: JudgedNetwork, tls: ssl.SSLContext, seconds: float) -> None:
        """Wire it; `seconds` is what one image may take, from the first look-up to its last byte."""
        self._hosts = hosts
        self._network = network
        self._tls = tls
        self._seconds = seconds

    async def fetch(self, uri: str) -> bytes:
        """See ports.UriSource."""
        url = self._hosts.parse(uri)
        try:
            async with asyncio.timeout(self._seconds):
                return await self._follow(url)
        except TimeoutError:
            raise ImageUnavailable(f"{shown(url)} did not give its image within {self._seconds:g} s.") from None

    async def _follow(self, url: httpx2.URL) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            async with self._get(url) as response:
                target = _target(response, url)
                if target is None:
                    return await _body(response, url)
            url = self._hosts.parse(target, base=url)
        raise BadImage(f"Its address redirects more than {MAX_REDIRECTS} times.")

    @contextlib.asynccontextmanager
    async def _get(self, url: httpx2.URL) -> AsyncIterator[httpcore2.Response]:
        """Ask for it over a connection of its own."""
        request_url = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        headers: dict[bytes | str, bytes | str] = {"Host": url.netloc, **_HEADERS}
        try:
            async with (
                httpcore2.AsyncConnectionPool(
                    ssl_context=self._tls, network_backend=self._network, max_connections=1
                ) as connections,
                connections.stream("GET", request_url, headers=headers) as response,
            ):
                yield response
        except AddressRefused:
            raise BadImage(f"{shown(url)} is not an address of the public internet.") from None
        except NameNotFound:
            raise ImageUnavailable(f"The host of {shown(url)} was not found.") from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException) as error:
            raise ImageUnavailable(f"{shown(url)} {_broken(error)}.") from None


def _target(response: httpcore2.Response, url: httpx2.URL) -> str | None:
    """Return where a response redirects to; None for one with a body to read. Raises BadImage or ImageUnavailable."""
    status = response.status
    if status == http.HTTPStatus.OK:
        return None
    location = _header(response, b"location")
    if status in _REDIRECTS and location is not None:
        return location
    retryable = status in _RETRYABLE or status >= http.HTTPStatus.INTERNAL_SERVER_ERROR
    raise ImageUnavailable(f"{shown(url)} answered with status {status}.", retryable=retryable)


async def _body(response: httpcore2.Response, url: httpx2.URL) -> bytes:
    if (_header(response, b"content-encoding") or "identity").strip().lower() != "identity":
        raise BadImage(f"{shown(url)} sent its image compressed, though it was asked not to.")
    told = _header(response, b"content-length") or ""
    # What is told may be a lie, but hardly one that makes it more.
    if told.isascii() and told.isdecimal() and (len(told) > len(str(MAX_BYTES)) or int(told) > MAX_BYTES):
        raise _too_large(url)
    body = bytearray()
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise _too_large(url)
    return bytes(body)


def _header(response: httpcore2.Response, name: bytes) -> str | None:
    for found, value in response.headers:
        if found.lower() == name:
            return value.decode("latin-1")
    return None


def _too_large(url: httpx2.URL) -> BadImage:
    return BadImage(f"{shown(url)} has more than {MAX_BYTES:,} bytes.")


def _broken(error: Exception) -> str:
    """Return what went wrong, without a word of the network's own: it may name addresses behind the host."""
    if isinstance(error.__cause__ or error.__context__, ssl.SSLCertVerificationError):
        return "has a certificate that is not trusted, or not its own"
    if isinstance(error, (httpcore2.ConnectError, httpcore2.ConnectTimeout)):
        return "cannot be reached"
    if isinstance(error, httpcore2.ProtocolError):
        return "does not speak HTTP/1.1"
    return "broke the connection"
