"""Drawn latencies can be repeated, scaled and switched off."""

import asyncio
import statistics

import pytest

from devkit.emulator.distributions import Latencies, LogNormal
from devkit.emulator.latency import Latency
from devkit.emulator.settings import EmulatorSettings


def latency_of(median_seconds: float, *, seed: int = 0) -> Latency:
    return Latency(Latencies(default=LogNormal(median_seconds=median_seconds)), seed=seed)


def draws(*, median_seconds: float = 1.2, seed: int = 0) -> list[float]:
    latency = latency_of(median_seconds, seed=seed)
    return [latency.draw(number) for number in range(1000)]


def test_the_seed_and_the_number_of_the_call_decide() -> None:
    assert draws(seed=1) == draws(seed=1)
    assert draws(seed=1) != draws(seed=2)
    assert len(set(draws())) == 1000


def test_latencies_lie_around_their_median_with_a_long_tail() -> None:
    drawn = sorted(draws(median_seconds=2.0))

    assert statistics.median(drawn) == pytest.approx(2.0, rel=0.05)
    assert drawn[0] > 0.2
    assert drawn[949] > 1.5 * statistics.median(drawn)


def test_a_median_of_zero_switches_latency_off() -> None:
    assert set(draws(median_seconds=0)) == {0.0}


async def test_closing_ends_a_wait() -> None:
    latency = latency_of(600)
    waiting = asyncio.create_task(latency.wait(600))
    await asyncio.sleep(0)
    assert not waiting.done()

    latency.close()

    assert await waiting is False


async def test_a_wait_that_is_not_broken_off_says_so() -> None:
    latency = latency_of(0)

    assert await latency.wait(0)
    assert await latency.wait(0.001)


@pytest.mark.parametrize("wrong", [{"models": ()}, {"models": ("",)}, {"latency_seconds": -1}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        EmulatorSettings(**wrong)  # type: ignore[arg-type]
