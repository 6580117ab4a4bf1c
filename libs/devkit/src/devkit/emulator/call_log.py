"""Every call that arrived, billed or refused, with its time: what a limit is held against, and what tests wait for."""

import asyncio
import contextlib
import datetime
import itertools
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class ReceivedCall:
    """One call; it is completed while it runs.

    Attributes:
        number: From 1 on, in the order of arrival; clearing the log does not start anew.
        time: When it had arrived.
        model: As it was asked for.
        prompt_sha256: As in the ledger; "" for a body that is not sound.
        fault: The scripted fault that hit it, "" if none did.
        over_quota: Whether a limit refused it.
        billed: Whether it is in the ledger.
        status: The HTTP status of the answer; None before it, and where there is none.
    """

    number: int
    time: datetime.datetime
    model: str
    prompt_sha256: str = ""
    fault: str = ""
    over_quota: bool = False
    billed: bool = False
    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """Which calls are meant; "" means any."""

    model: str = ""
    prompt_sha256: str = ""

    def fits(self, call: ReceivedCall) -> bool:
        return self.model in ("", call.model) and self.prompt_sha256 in ("", call.prompt_sha256)


class CallLog:
    """The calls since the start, or since it was cleared."""

    def __init__(self) -> None:
        self._calls: list[ReceivedCall] = []
        self._numbers = itertools.count(1)
        self._arrival = asyncio.Event()
        self._is_closed = False

    def receive(self, model: str) -> ReceivedCall:
        """Note a call that has just arrived."""
        call = ReceivedCall(number=next(self._numbers), time=datetime.datetime.now(datetime.UTC), model=model)
        self._calls.append(call)
        self._wake()
        return call

    async def until(self, count: int, *, seconds: float, of: CallFilter) -> None:
        """Wait until so many calls have arrived, but not longer than this."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(self._matching(of)) < count and not self._is_closed:
                    await self._arrival.wait()

    def clear(self) -> None:
        self._calls.clear()

    def close(self) -> None:
        """End every wait."""
        self._is_closed = True
        self._wake()

    def as_json(self, of: CallFilter) -> dict[str, object]:
        """Return the calls, oldest first."""
        calls = self._matching(of)
        return {"count": len(calls), "calls": [_as_json(call) for call in calls]}

    def _matching(self, of: CallFilter) -> list[ReceivedCall]:
        return [call for call in self._calls if of.fits(call)]

    def _wake(self) -> None:
        self._arrival.set()
        self._arrival = asyncio.Event()


def _as_json(call: ReceivedCall) -> Mapping[str, object]:
    return {
        "number": call.number,
        "time": call.time.isoformat(),
        "model": call.model,
        "prompt_sha256": call.prompt_sha256,
        "fault": call.fault,
        "over_quota": call.over_quota,
        "billed": call.billed,
        "status": call.status,
    }
