"""What faults do to a reply or its connection, whoever the provider is."""

import dataclasses
import datetime
import email.utils
import math
from collections.abc import Callable, Mapping

from devkit.emulator.fault_kinds import FaultKind
from devkit.emulator.faults import DEFAULT_RETRY_SECONDS, Fault
from devkit.emulator.reply import JSON, Ending, Reply

DEFAULT_HUGE_BYTES = 64 << 20
DEFAULT_BOMB_BYTES = 256 << 20
DEFAULT_TRICKLE_SECONDS = 10.0

ODD_MARK = "\uf8ff"
"""Stands in an answer's text where bytes will be that are no UTF-8."""

_ODD_BYTES = b"\xc3\x28\xff\xed\xa0\x80"
_HTML_TYPE = "text/html; charset=UTF-8"
_BAD_GATEWAY = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_NOT_JSON = b"upstream connect error or disconnect/reset before headers"


def page(status: int, title: str, sentence: str) -> Reply:
    """Return an error as the front of Google's servers tells it: a page for people."""
    body = (
        f"<!DOCTYPE html>\n<html lang=en>\n  <title>Error {status} ({title})!!1</title>\n"
        f"  <p><b>{status}.</b> <ins>That\u2019s an error.</ins>\n  <p>{sentence}  <ins>That\u2019s all we know.</ins>\n"
    )
    return Reply(body=body.encode(), status=status, media_type=_HTML_TYPE)


def retry_after(fault: Fault) -> Mapping[str, str]:
    """Return the header of a 429 that names a time, in seconds or as a date, never sooner than it is."""
    seconds = DEFAULT_RETRY_SECONDS if fault.retry_seconds is None else fault.retry_seconds
    if fault.kind is FaultKind.HEADER_SECONDS:
        return {"retry-after": str(math.ceil(seconds))}
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return {"retry-after": email.utils.format_datetime(until + datetime.timedelta(seconds=1), usegmt=True)}


def broken_at_once(fault: Fault) -> Reply | None:
    """Return what comes in place of a reply before the model sees the call; None if it does see it."""
    match fault.kind:
        case FaultKind.HANG:
            return Reply(ending=Ending.SILENCE)
        case FaultKind.RESET_BEFORE:
            return Reply(ending=Ending.RESET)
        case FaultKind.TOO_LARGE:
            return page(413, "Request Entity Too Large", "Your client issued a request that was too large.")
        case _:
            return None


def broken_at_last(fault: Fault) -> Reply | None:
    """Return what comes in place of a reply to a call that took its time for nothing; None if there will be an answer."""
    match fault.kind:
        case FaultKind.HTML:
            return Reply(body=_BAD_GATEWAY, status=502, media_type=_HTML_TYPE)
        case FaultKind.REQUEST_TIMEOUT:
            return page(408, "Request Timeout", "Your client has taken too long to issue its request.")
        case FaultKind.RAW if not _is_billed(fault):
            return _raw(fault)
        case _:
            return None


def broken(reply: Reply, fault: Fault | None) -> Reply:
    """Return the reply to a billed call as the fault leaves it."""
    if fault is None or fault.kind not in _BREAKS:
        return reply
    return _BREAKS[fault.kind](reply, fault)


def _is_billed(fault: Fault) -> bool:
    return fault.status in (None, 200) if fault.billed is None else fault.billed


def _raw(fault: Fault) -> Reply:
    headers = {name.lower(): value for name, value in (fault.headers or {}).items()}
    return Reply(
        body=(fault.body or "").encode(errors="surrogatepass"),
        status=200 if fault.status is None else fault.status,
        media_type=headers.pop("content-type", JSON),
        headers=headers,
    )


def _huge(reply: Reply, fault: Fault) -> Reply:
    size = DEFAULT_HUGE_BYTES if fault.size_bytes is None else fault.size_bytes
    return dataclasses.replace(reply, padding_bytes=max(0, size - len(reply.body)))


def _bomb(reply: Reply, fault: Fault) -> Reply:
    size = DEFAULT_BOMB_BYTES if fault.size_bytes is None else fault.size_bytes
    return dataclasses.replace(reply, padding_bytes=max(0, size - len(reply.body)), gzipped=True)


def _trickling(reply: Reply, fault: Fault) -> Reply:
    seconds = DEFAULT_TRICKLE_SECONDS if fault.seconds is None else fault.seconds
    return dataclasses.replace(reply, trickle_seconds=seconds)


def _odd(reply: Reply, _: Fault) -> Reply:
    return dataclasses.replace(reply, body=reply.body.replace(b"\\uf8ff", _ODD_BYTES))


_BREAKS: Mapping[FaultKind, Callable[[Reply, Fault], Reply]] = {
    FaultKind.EMPTY: lambda reply, _: dataclasses.replace(reply, body=b""),
    FaultKind.NOT_JSON: lambda reply, _: dataclasses.replace(reply, body=_NOT_JSON),
    FaultKind.TRUNCATED: lambda reply, _: dataclasses.replace(reply, ending=Ending.CUT),
    FaultKind.RESET_AFTER: lambda reply, _: dataclasses.replace(reply, ending=Ending.RESET),
    FaultKind.HUGE_BODY: _huge,
    FaultKind.GZIP_BOMB: _bomb,
    FaultKind.TRICKLE: _trickling,
    FaultKind.ODD_UTF8: _odd,
    FaultKind.RAW: lambda _, fault: _raw(fault),
}
