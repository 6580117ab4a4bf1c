"""Every call that arrived, billed or refused, with its time: what a limit is held against, and what tests wait for."""

import asyncio
import contextlib
import datetime
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from devkit.emulator.faults import FaultTarget
from devkit.emulator.reply import Fate, Reply
from devkit.emulator.retry_times import RetryTimes, told_retry_time


@dataclass(slots=True, kw_only=True)
class ReceivedCall:
    """One call; it is completed while it runs.

    Attributes:
        number: From 1 on, in the order of arrival; clearing the log does not start anew.
        begin_time: When its head had arrived.
        time: When its body had arrived, too.
        target: Provider, model as it was asked for, hash of the prompt ("" for a body that is not sound) and tier.
        fault: The scripted fault that hit it, "" if none did.
        over_quota: Whether a limit refused it.
        billed: Whether it is in the ledger.
        status: The HTTP status of the answer; None before it, and where there is none.
        fate: What became of the reply; None before it.
        retry_until: Until when a 429 told the caller to stay away.
        is_too_soon: Whether it began before a time that an earlier 429 of its model had told.
    """

    number: int
    begin_time: datetime.datetime
    time: datetime.datetime
    target: FaultTarget
    fault: str = ""
    over_quota: bool = False
    billed: bool = False
    status: int | None = None
    fate: Fate | None = None
    retry_until: datetime.datetime | None = None
    is_too_soon: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """Which calls are meant; "" means any."""

    provider: str = ""
    model: str = ""
    prompt_sha256: str = ""

    def fits(self, call: ReceivedCall) -> bool:
        return (
            self.provider in ("", call.target.provider)
            and self.model in ("", call.target.model)
            and self.prompt_sha256 in ("", call.target.prompt_sha256)
        )


class CallLog:
    """The calls since the start, or since it was cleared."""

    def __init__(self) -> None:
        self._calls: list[ReceivedCall] = []
        self._numbers = itertools.count(1)
        self._arrival = asyncio.Event()
        self._retry_times = RetryTimes()
        self._clearings = 0
        self._is_closed = False

    def receive(self, target: FaultTarget, *, begin_time: datetime.datetime) -> ReceivedCall:
        """Note a call that has just arrived."""
        call = ReceivedCall(
            number=next(self._numbers),
            begin_time=begin_time,
            time=datetime.datetime.now(datetime.UTC),
            target=target,
            is_too_soon=self._retry_times.forbids(target.model, begin_time),
        )
        self._calls.append(call)
        self._wake()
        return call

    def answer(self, call: ReceivedCall, reply: Reply) -> None:
        """Note what a call is about to be answered."""
        if not reply.is_sent:
            return
        call.status = reply.status
        now = datetime.datetime.now(datetime.UTC)
        call.retry_until = told_retry_time(reply, now)
        if call.retry_until:
            self._retry_times.tell(call.target.model, call.retry_until, now)

    async def until(self, count: int, *, seconds: float, of: CallFilter) -> None:
        """Wait until so many calls have arrived, but not longer than this."""
        seen, matching, clearings = 0, 0, self._clearings
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._is_closed:
                    if clearings != self._clearings:
                        seen, matching, clearings = 0, 0, self._clearings
                    matching += sum(of.fits(call) for call in itertools.islice(self._calls, seen, None))
                    seen = len(self._calls)
                    if matching >= count:
                        return
                    await self._arrival.wait()

    def clear(self) -> None:
        """Forget the calls, and what was told of times to stay away."""
        self._calls.clear()
        self._retry_times.clear()
        self._clearings += 1

    def close(self) -> None:
        """End every wait."""
        self._is_closed = True
        self._wake()

    def as_json(self, of: CallFilter) -> dict[str, object]:
        """Return the calls, oldest first, and how many of them came sooner than told."""
        calls = [call for call in self._calls if of.fits(call)]
        violations = sum(call.is_too_soon for call in calls)
        return {"count": len(calls), "violations": violations, "calls": [_as_json(call) for call in calls]}

    def _wake(self) -> None:
        self._arrival.set()
        self._arrival = asyncio.Event()


def _as_json(call: ReceivedCall) -> Mapping[str, object]:
    return {
        "number": call.number,
        "begin_time": call.begin_time.isoformat(),
        "time": call.time.isoformat(),
        "provider": call.target.provider,
        "model": call.target.model,
        "prompt_sha256": call.target.prompt_sha256,
        "service_tier": call.target.service_tier,
        "fault": call.fault,
        "over_quota": call.over_quota,
        "billed": call.billed,
        "status": call.status,
        "fate": "" if call.fate is None else call.fate,
        "retry_until": call.retry_until.isoformat() if call.retry_until else None,
        "too_soon": call.is_too_soon,
    }
