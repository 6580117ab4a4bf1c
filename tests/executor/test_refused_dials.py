"""An executor whom no scheduler lets in."""

import contextlib
import itertools
from collections.abc import AsyncIterator

import structlog
from executor_world import FakeSchedulers, World, in_world
from hypothesis import given
from hypothesis import strategies as st

from executor.ports import Link, LinkRefused
from executor.receive import redial_seconds


class Distrustful(FakeSchedulers):
    """Refuse dials with this reason, as long as there is one."""

    reason = "KEY_INVALID"

    @contextlib.asynccontextmanager
    async def dial(self, turn: int) -> AsyncIterator[Link]:
        async with super().dial(turn) as link:
            if self.reason:
                raise LinkRefused(self.reason, "UNAUTHENTICATED: The key is not known.")
            yield link


def errors(logged: list[structlog.typing.EventDict]) -> list[tuple[str, str]]:
    return [(each["event"], each["reason"]) for each in logged if each["log_level"] == "error"]


def test_why_it_is_refused_is_said_once_and_again_when_it_is_something_else() -> None:
    schedulers = Distrustful()

    async def scenario(_: World) -> None:
        with structlog.testing.capture_logs() as logged:
            await schedulers.dials(10)
            schedulers.reason = "ROLE_MISSING"
            await schedulers.dials(20)

        assert errors(logged) == [("scheduler_refused", "KEY_INVALID"), ("scheduler_refused", "ROLE_MISSING")]

    in_world(scenario, schedulers=schedulers)


def test_a_refused_executor_dials_at_a_calmer_pace() -> None:
    schedulers = Distrustful()

    async def scenario(_: World) -> None:
        await schedulers.dials(20)

        pauses = [second - first for first, second in itertools.pairwise(schedulers.dial_times)]
        assert all(4.99 < pause < 10.01 for pause in pauses[8:])

    in_world(scenario, schedulers=schedulers)


def test_it_works_as_soon_as_it_is_let_in_and_a_later_refusal_is_news_again() -> None:
    schedulers = Distrustful()

    async def scenario(_: World) -> None:
        with structlog.testing.capture_logs() as logged:
            await schedulers.dials(5)
            schedulers.reason = ""
            link = await schedulers.link(6)
            await link.until(lambda: link.credits)
            schedulers.reason = "KEY_INVALID"
            link.break_off()
            await schedulers.dials(10)

        assert errors(logged) == [("scheduler_refused", "KEY_INVALID")] * 2

    in_world(scenario, schedulers=schedulers)


@given(failures=st.integers(min_value=0, max_value=10**9), draw=st.floats(min_value=0, max_value=1, exclude_max=True))
def test_the_pause_before_a_dial_that_will_be_refused_is_ten_seconds_at_most(failures: int, draw: float) -> None:
    assert 0.02 < redial_seconds(failures, draw=draw, refused=True) <= 10.0
