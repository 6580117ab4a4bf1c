"""Takes no work of a provider that refuses this executor's key, and tries the key again now and then with one job.

While another provider is left, only the lanes of the one that refuses are withdrawn; the last one closes the slots.
"""

import asyncio
import contextlib
import enum
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass

from executor.slots import Slots
from runtime import logs
from runtime.clock import Clock

RETRY_SECONDS = 60.0

_log = logs.get_logger(__name__)


class KeyRefused(Exception):
    """The provider does not take the key; the message is its own."""


class _State(enum.Enum):
    GOOD = enum.auto()
    REFUSED = enum.auto()
    # Refused, and one job may try it.
    ON_TRIAL = enum.auto()


@dataclass(slots=True)
class _Key:
    state: _State = _State.GOOD
    message: str = ""
    retry_at: float = 0.0
    is_tried: bool = False


class ProviderKeys:
    """Whether each provider takes its key, by what it said last. One key a provider of the lanes."""

    def __init__(self, *, lanes: Iterable[str], slots: Slots, clock: Clock) -> None:
        """Serve lanes, each provider/model or provider/*."""
        self._lanes = tuple(lanes)
        self._slots = slots
        self._clock = clock
        self._keys = {_provider(lane): _Key() for lane in self._lanes}
        self._moved = asyncio.Event()

    @property
    def lanes(self) -> tuple[str, ...]:
        """What may be served now; all of them where that is nothing, for then it is the slots that are closed."""
        served = tuple(lane for lane in self._lanes if self._keys[_provider(lane)].state is not _State.REFUSED)
        return served or self._lanes

    async def moved_from(self, lanes: tuple[str, ...]) -> None:
        """Wait until other lanes than these are to be told to a scheduler."""
        while self._are_all_refused or self.lanes == lanes:
            await self._moved.wait()

    @contextlib.asynccontextmanager
    async def calling(self, provider: str) -> AsyncIterator[None]:
        """Call the provider in this block. While its key is on trial, one does and the others wait for what comes of it.

        Raises:
            KeyRefused: It would be in vain.
        """
        key = self._keys.setdefault(provider, _Key())
        while key.state is _State.ON_TRIAL and key.is_tried:
            await self._moved.wait()
        if key.state is _State.REFUSED:
            raise KeyRefused(key.message)
        with self._trying(key) if key.state is _State.ON_TRIAL else contextlib.nullcontext():
            yield

    def refused(self, provider: str, message: str) -> None:
        """The provider refused the key."""
        key = self._keys.setdefault(provider, _Key())
        if key.state is _State.GOOD:
            _log.error("provider_refuses_key", provider=provider, message=message, retry_seconds=RETRY_SECONDS)
        key.state, key.message = _State.REFUSED, message
        key.retry_at = self._clock.monotonic() + RETRY_SECONDS
        self._move()

    def accepted(self, provider: str) -> None:
        """The provider answered otherwise, so the key is good."""
        key = self._keys.setdefault(provider, _Key())
        if key.state is not _State.GOOD:
            key.state = _State.GOOD
            _log.info("provider_accepts_key", provider=provider)
            self._move()

    async def run(self) -> None:
        """Let one job try a refused key now and then, until cancelled."""
        while True:
            refused = [key for key in self._keys.values() if key.state is _State.REFUSED]
            if not refused:
                await self._moved.wait()
                continue
            now = self._clock.monotonic()
            pause = min(key.retry_at for key in refused) - now
            if pause > 0:
                await self._clock.sleep(pause)
                continue
            for key in refused:
                if key.retry_at <= now:
                    key.state = _State.ON_TRIAL
            self._move()

    @property
    def _are_all_refused(self) -> bool:
        return all(key.state is _State.REFUSED for key in self._keys.values())

    @contextlib.contextmanager
    def _trying(self, key: _Key) -> Iterator[None]:
        key.is_tried = True
        try:
            yield
        finally:
            key.is_tried = False
            self._wake()

    def _move(self) -> None:
        states = {key.state for key in self._keys.values()}
        self._slots.limit(None if _State.GOOD in states else 1 if _State.ON_TRIAL in states else 0)
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()


def _provider(lane: str) -> str:
    return lane.partition("/")[0]
