"""An event loop with virtual time that knows which machine each step belongs to.

A machine can be killed between any two steps of it: from then on none of its steps runs, no `finally` either, as with
`kill -9`. A frozen machine's steps wait until it thaws, as after SIGSTOP. Nothing here depends on threads, sockets or
the real time, so the same seed gives the same steps.
"""

import asyncio
import contextvars
import datetime
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

EPOCH = datetime.datetime(2026, 11, 24, 9, 0, tzinfo=datetime.UTC)
OUTSIDE = contextvars.Context()
"""Where the network, the database and the provider live: no machine dies with them."""

_machine: contextvars.ContextVar["Machine"] = contextvars.ContextVar("machine")


class StandsStill(Exception):
    """Nothing is ready, and no timer is set."""


class Machine:
    """Where one process runs."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.thaw_time = 0.0
        self.parked: deque[asyncio.Handle] = deque()
        # Held, because a task that nothing refers to would be collected, and its `finally` run.
        self.tasks: set[asyncio.Task[Any]] = set()
        self.context = contextvars.Context()
        self.context.run(_machine.set, self)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Runs one history. `kill_at` is the number of the step at which `on_kill` is called."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.steps = 0
        self.failures: list[dict[str, Any]] = []
        self.kill_at: dict[int, Callable[[], None]] = {}
        # Whose step runs, or is about to.
        self.stepping: Machine | None = None
        # With the order in which they were set: as pairs they compare at the speed of C, and equal times keep their order.
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timer_numbers = itertools.count()
        self._all_tasks: set[asyncio.Task[Any]] = set()
        self.set_task_factory(self._make_task)  # type: ignore[arg-type]
        self.set_exception_handler(lambda _, context: self.failures.append(context))

    def time(self) -> float:
        return self.now

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: object,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._timer_numbers), timer))
        return timer

    def start(self, machine: Machine, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run work on a machine."""
        return self.create_task(work, context=machine.context.copy())

    def later(self, seconds: float, callback: Callable[..., object], *args: object) -> None:
        """Let something happen that no machine does."""
        self.call_at(self.now + seconds, callback, *args, context=OUTSIDE)

    def freeze(self, machine: Machine, seconds: float) -> None:
        """Stop a machine for so long."""
        machine.thaw_time = max(machine.thaw_time, self.now + seconds)
        self.later(machine.thaw_time - self.now, self._thaw, machine)

    def throw_away(self) -> None:
        """End the loop and whatever is left on it, without a word about what did not end by itself."""
        self.set_exception_handler(lambda _, __: None)
        for task in [*self._all_tasks]:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine = task.get_coro()
            try:
                if coroutine is not None:
                    coroutine.close()
            except BaseException:  # noqa: BLE001 - it is thrown away
                pass
        self._all_tasks.clear()
        self.close()

    def _make_task(
        self,
        _: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any],
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=self, context=context)
        machine = (context or contextvars.copy_context()).get(_machine)
        for tasks in (self._all_tasks, *([machine.tasks] if machine else [])):
            tasks.add(task)
            task.add_done_callback(tasks.discard, context=OUTSIDE)
        return task

    def _thaw(self, machine: Machine) -> None:
        if self.now >= machine.thaw_time:
            self._ready.extend(machine.parked)  # type: ignore[attr-defined]
            machine.parked.clear()

    def _run_once(self) -> None:
        ready: deque[asyncio.Handle] = self._ready  # type: ignore[attr-defined]
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not ready:
            if not timers:
                raise StandsStill
            self.now = max(self.now, timers[0][0])
        while timers and timers[0][0] <= self.now:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                self._step(handle)

    def _step(self, handle: asyncio.Handle) -> None:
        machine = handle._context.get(_machine)  # type: ignore[attr-defined]
        if machine is None:
            handle._run()
            return
        if self.now < machine.thaw_time:
            machine.parked.append(handle)
            return
        self.steps += 1
        self.stepping = machine
        planned = self.kill_at.pop(self.steps, None)
        if planned is not None:
            planned()
        if not machine.is_dead:
            handle._run()


class SimulatedClock:
    """Implements runtime.clock.Clock."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def now(self) -> datetime.datetime:
        return EPOCH + datetime.timedelta(seconds=self._loop.now)

    def monotonic(self) -> float:
        return self._loop.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


def current_machine() -> Machine | None:
    """Return whose step this is."""
    return _machine.get(None)
