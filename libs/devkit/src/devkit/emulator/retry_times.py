"""The times until which callers were told to stay away, read off the replies themselves, and who came sooner."""

import bisect
import contextlib
import datetime
import email.utils
import json
import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from devkit.emulator.reply import Reply

GRACE = datetime.timedelta(milliseconds=50)
"""Clocks and networks are not exact: so much sooner than told is not too soon, nor is so much after being told."""

_MOST_SECONDS = 86_400.0
_KEPT = 1_000


class RetryTimes:
    """What was told of each model, in the order in which it was told."""

    def __init__(self) -> None:
        self._told: defaultdict[str, list[tuple[datetime.datetime, datetime.datetime]]] = defaultdict(list)

    def tell(self, model: str, until: datetime.datetime, now: datetime.datetime) -> None:
        """Note that callers were told now to stay away until then."""
        told = self._told[model]
        latest = max(told[-1][1], until) if told else until
        told.append((now, latest))
        if len(told) > 2 * _KEPT:
            del told[:-_KEPT]

    def forbids(self, model: str, begin_time: datetime.datetime) -> bool:
        """Return whether a call that began then came too soon; who was on the way when it was told did not."""
        told = self._told.get(model, [])
        known = bisect.bisect_right(told, begin_time - GRACE, key=lambda each: each[0])
        return known > 0 and begin_time < told[known - 1][1] - GRACE

    def clear(self) -> None:
        self._told.clear()


def told_retry_time(reply: Reply, now: datetime.datetime) -> datetime.datetime | None:
    """Return until when a 429 tells its caller to stay away, by RetryInfo or header; the longest wins.

    None if it tells nothing, or nothing that could be meant: no time over a day is.
    """
    if reply.status != 429:
        return None
    seconds = [*_header_seconds(reply.headers, now), *_detail_seconds(reply.body)]
    meant = [each for each in seconds if math.isfinite(each) and 0 < each <= _MOST_SECONDS]
    return now + datetime.timedelta(seconds=max(meant)) if meant else None


def _header_seconds(headers: Mapping[str, str], now: datetime.datetime) -> list[float]:
    text = headers.get("retry-after", "")
    with contextlib.suppress(ValueError):
        return [float(text)]
    with contextlib.suppress(ValueError):
        date = email.utils.parsedate_to_datetime(text)
        return [(date.replace(tzinfo=date.tzinfo or datetime.UTC) - now).total_seconds()]
    return []


def _detail_seconds(body: bytes) -> list[float]:
    """Return the delays of all RetryInfo details; an error may be anything, since scripts write them."""
    document: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        document = json.loads(body)
    if isinstance(document, list) and document:
        document = document[0]
    error = document.get("error") if isinstance(document, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    found = []
    for detail in details if isinstance(details, list) else ():
        with contextlib.suppress(ValueError, AttributeError):
            found.append(float(detail.get("retryDelay", "").removesuffix("s")))
    return found
