"""A call may begin within a span of VALIDITY and slack: from when its permit is due, or earlier if it is given ahead.

So calls can share a window as soon as their permits are due within its length and that span: `worst` counts those.
"""

import datetime
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from hypothesis import Phase, settings
from hypothesis import strategies as st

from policies.quota import VALIDITY, Ask, Limits, Pace, grant, provider_day, settle

START = datetime.datetime(2026, 11, 24, 12, 0, 0, 123_457, tzinfo=datetime.UTC)
LATENESS = VALIDITY + datetime.timedelta(seconds=0.3)
EARLINESS = datetime.timedelta(milliseconds=200)
MINUTE = datetime.timedelta(minutes=1)
TEN_MINUTES = datetime.timedelta(minutes=10)
TICK = datetime.timedelta(microseconds=1)
AT_ONCE = datetime.timedelta()
NOTHING = Ask(0, 0.0)
CENT = 0.01

# A simulation is told by a handful of numbers; to shrink it would take minutes.
simulation = settings(deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
aheads = st.integers(0, 200).map(lambda milliseconds: datetime.timedelta(milliseconds=milliseconds))
fractions = st.lists(st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1), min_size=1, max_size=5)
pauses = (st.sampled_from([0.0, 0.2, 1.0, 59.9, 60.0, 60.8, 61.0]) | st.floats(0, 70)).map(
    lambda seconds: datetime.timedelta(seconds=seconds)
)


@dataclass
class Call:
    """A call that was permitted; `used` is what counts of it: what was reserved, or what it really used."""

    due: datetime.datetime
    asked: Ask
    used: Ask
    settled: bool = False


def one(_call: Call) -> float:
    return 1


@dataclass
class Caller:
    """Asks for permits and remembers what it got."""

    limits: Limits
    now: datetime.datetime = START
    pace: Pace = field(default_factory=Pace)
    calls: list[Call] = field(default_factory=list)

    def ask(self, asks: Sequence[Ask], *, ahead: datetime.timedelta = AT_ONCE) -> list[datetime.datetime]:
        self.pace, dues = grant(self.pace, self.limits, asks, now=self.now, ahead=ahead)
        assert all(self.now <= due <= self.now + ahead for due in dues)
        self.calls += [Call(due, ask, ask) for due, ask in zip(dues, asks, strict=False)]
        return dues

    def settle(self, call: Call, used: Ask) -> None:
        self.pace = settle(self.pace, call.asked, used, call.due, now=self.now)
        call.used, call.settled = used, True

    def worst(self, length: datetime.timedelta, amount: Callable[[Call], float]) -> float:
        """Return the largest sum over calls that may begin in one window of this length."""
        calls = sorted(self.calls, key=lambda call: call.due)
        first, total, most = 0, 0.0, 0.0
        for call in calls:
            while call.due - calls[first].due >= length + LATENESS:
                total -= amount(calls[first])
                first += 1
            total += amount(call)
            most = max(most, total)
        return most

    @property
    def most_requests(self) -> float:
        return self.worst(MINUTE, one)

    @property
    def most_tokens(self) -> float:
        return self.worst(MINUTE, lambda call: call.used.tokens)

    @property
    def most_cents(self) -> float:
        return self.worst(TEN_MINUTES, lambda call: call.used.dollars / CENT)


def keep_busy(
    caller: Caller,
    asks: Iterator[Ask],
    *,
    lasting: datetime.timedelta,
    aheads: tuple[datetime.timedelta, ...] = (AT_ONCE,),
    lateness: Sequence[float] = (0.0,),
) -> None:
    """Let schedulers with work that never ends take turns; each wakes by up to its `ahead` before a permit is due."""
    end = caller.now + lasting
    waiting = next(asks)
    for ahead, late in zip(itertools.cycle(aheads), itertools.cycle(lateness)):
        while caller.ask([waiting], ahead=ahead):
            waiting = next(asks)
            if len(caller.calls) > 200_000:
                raise AssertionError("A limit that does not limit.")
        assert caller.pace.next_permit_time is not None
        caller.now = max(caller.now, caller.pace.next_permit_time - ahead * (1 - late))
        if caller.now >= end:
            return


def used_until(caller: Caller, end: datetime.datetime, amount: Callable[[Call], float]) -> float:
    return sum(amount(call) for call in caller.calls if call.due < end)


def small_asks(seed: list[float], *, tokens: int = 0, dollars: float = 0.0) -> Iterator[Ask]:
    """Yield asks of up to these amounts for ever."""
    return (Ask(round(part * tokens), part * dollars) for part in itertools.cycle([1.0, *seed]))


LIMITS = st.builds(
    Limits,
    requests_per_minute=st.none() | st.integers(1, 60),
    input_tokens_per_minute=st.none() | st.just(100) | st.integers(100, 1_000),
    requests_per_day=st.none() | st.integers(1, 30),
    dollars_per_10_minutes=st.none() | (st.just(100) | st.integers(100, 1_000)).map(lambda cents: cents * CENT),
)
# Round amounts fill a limit exactly, where the sums of floats are least exact.
AMOUNTS = st.sampled_from([10, 20, 30, 70, 100]) | st.integers(0, 100)
ASKS = st.builds(Ask, tokens=AMOUNTS, dollars=AMOUNTS.map(lambda cents: cents * CENT))
# A pause, then asks, and how far ahead permits are given.
Bursts = list[tuple[datetime.timedelta, list[Ask], datetime.timedelta]]
BURSTS = st.lists(st.tuples(pauses | st.just(datetime.timedelta(minutes=9)), st.lists(ASKS, max_size=12), aheads))


def after(limits: Limits, bursts: Bursts) -> Caller:
    """Return a caller after this past."""
    caller = Caller(limits)
    for pause, asks, ahead in bursts:
        caller.now += pause
        caller.ask(asks, ahead=ahead)
    return caller


def per_day(calls: Iterable[Call]) -> dict[datetime.date, int]:
    """Count for each day the calls that may begin in it."""
    counts: dict[datetime.date, int] = {}
    for call in calls:
        for day in {provider_day(call.due - EARLINESS), provider_day(call.due + LATENESS)}:
            counts[day] = counts.get(day, 0) + 1
    return counts


def utc(*when: int) -> datetime.datetime:
    return datetime.datetime(*when, tzinfo=datetime.UTC)  # type: ignore[misc,arg-type]
