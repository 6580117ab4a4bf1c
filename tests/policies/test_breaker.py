import datetime
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from policies.breaker import Breaker, BreakerRules, Health, after_attempt

NOW = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC)
FIVE_MINUTES = datetime.timedelta(minutes=5)
OPEN = Breaker(failures=5, open_until=NOW + FIVE_MINUTES)
PROBE = ("probe", 1)
PROBED = replace(OPEN, probe=PROBE)
PROBE_TIME = NOW + FIVE_MINUTES


def after(breaker: Breaker, *healths: Health, now: datetime.datetime = NOW) -> Breaker:
    """Return the breaker after attempts that are no probe."""
    for number, health in enumerate(healths, 1):
        breaker = after_attempt(breaker, ("job", number), health, now=now, rules=BreakerRules())
    return breaker


def after_probe(health: Health) -> Breaker:
    return after_attempt(PROBED, PROBE, health, now=PROBE_TIME, rules=BreakerRules())


def test_five_failures_in_a_row_open_it_for_five_minutes() -> None:
    assert after(Breaker(), *[Health.FAILED] * 4).is_closed

    assert after(Breaker(), *[Health.FAILED] * 5) == OPEN


def test_the_failures_and_the_time_are_settings() -> None:
    rules = BreakerRules(failures=1, open_for=datetime.timedelta(seconds=7))

    breaker = after_attempt(Breaker(), ("job", 1), Health.FAILED, now=NOW, rules=rules)

    assert breaker.open_until == NOW + datetime.timedelta(seconds=7)


def test_it_is_open_until_its_time_has_come_and_closed_only_by_a_probe() -> None:
    last = PROBE_TIME - datetime.timedelta(microseconds=1)

    assert [OPEN.is_open(NOW), OPEN.is_open(last), OPEN.is_open(PROBE_TIME)] == [True, True, False]
    assert not OPEN.is_closed
    assert not Breaker().is_open(NOW)


def test_any_answer_resets_the_streak() -> None:
    breaker = after(Breaker(), *[Health.FAILED] * 4, Health.ANSWERED, *[Health.FAILED] * 4)

    assert breaker == Breaker(failures=4)


def test_an_end_without_a_verdict_neither_resets_the_streak_nor_adds_to_it() -> None:
    breaker = after(Breaker(), *[Health.FAILED] * 4, *[Health.UNKNOWN] * 9)

    assert breaker == Breaker(failures=4)
    assert after(breaker, Health.FAILED) == OPEN


@pytest.mark.parametrize("health", Health)
@pytest.mark.parametrize("breaker", [OPEN, PROBED])
def test_what_was_called_before_it_opened_changes_nothing(breaker: Breaker, health: Health) -> None:
    assert after(breaker, health, now=PROBE_TIME) == breaker


def test_another_attempt_of_the_job_that_probes_is_no_probe() -> None:
    answered = after_attempt(PROBED, ("probe", 2), Health.ANSWERED, now=PROBE_TIME, rules=BreakerRules())

    assert answered == PROBED


def test_a_probe_that_is_answered_closes_it_and_the_streak_begins_anew() -> None:
    assert after_probe(Health.ANSWERED) == Breaker()


def test_a_failed_probe_opens_it_for_another_five_minutes() -> None:
    assert after_probe(Health.FAILED) == Breaker(failures=5, open_until=PROBE_TIME + FIVE_MINUTES)


def test_a_probe_without_a_verdict_leaves_its_place_to_the_next_at_once() -> None:
    breaker = after_probe(Health.UNKNOWN)

    assert breaker == OPEN
    assert not breaker.is_open(PROBE_TIME)


class LaneUnderAnyInterleaving(RuleBasedStateMachine):
    """Attempts begin while the lane lets them and end in any order, much later too, any of them more than once."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker()
        self.now = NOW
        self.attempts: list[tuple[str, int]] = []
        self.streak = 0
        self.opened: datetime.datetime | None = None

    @initialize(failures=st.integers(1, 6), seconds=st.integers(1, 600))
    def choose_rules(self, failures: int, seconds: int) -> None:
        self.breaker_rules = BreakerRules(failures=failures, open_for=datetime.timedelta(seconds=seconds))

    @precondition(lambda self: self.breaker.is_closed)
    @rule(job=st.integers(1, 3))
    def begin(self, job: int) -> None:
        self.attempts.append((f"job {job}", len(self.attempts) + 1))

    @precondition(
        lambda self: not self.breaker.is_closed and not self.breaker.is_open(self.now) and self.breaker.probe is None
    )
    @rule(job=st.integers(1, 3))
    def begin_probe(self, job: int) -> None:
        self.attempts.append((f"job {job}", len(self.attempts) + 1))
        self.breaker = replace(self.breaker, probe=self.attempts[-1])

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), health=st.sampled_from(Health))
    def end_any(self, data: st.DataObject, health: Health) -> None:
        self.end(data.draw(st.sampled_from(self.attempts)), health)

    @precondition(lambda self: self.breaker.probe)
    @rule(health=st.sampled_from(Health))
    def end_probe(self, health: Health) -> None:
        probe = self.breaker.probe
        assert probe is not None
        self.end(probe, health)

    @precondition(lambda self: self.attempts and self.breaker.is_closed)
    @rule(data=st.data())
    def fail_often(self, data: st.DataObject) -> None:
        for attempt in data.draw(st.lists(st.sampled_from(self.attempts), min_size=1, max_size=6)):
            self.end(attempt, Health.FAILED)

    @rule(seconds=st.integers(0, 700))
    def pass_by(self, seconds: int) -> None:
        self.now += datetime.timedelta(seconds=seconds)

    def end(self, attempt: tuple[str, int], health: Health) -> None:
        before = self.breaker
        self.breaker = after_attempt(before, attempt, health, now=self.now, rules=self.breaker_rules)
        if before.is_closed:
            self.count(health)
            assert self.breaker.is_closed == (self.streak < self.breaker_rules.failures)
            self.opened = None if self.breaker.is_closed else self.now
        elif attempt != before.probe:
            assert self.breaker == before
        else:
            assert self.breaker.probe is None
            assert self.breaker.is_closed == (health is Health.ANSWERED)
            self.streak = 0 if self.breaker.is_closed else self.streak
            self.opened = self.now if health is Health.FAILED else self.opened

    def count(self, health: Health) -> None:
        match health:
            case Health.ANSWERED:
                self.streak = 0
            case Health.FAILED:
                self.streak += 1
            case Health.UNKNOWN:
                pass

    @invariant()
    def it_stays_open_for_its_whole_time(self) -> None:
        if not self.breaker.is_closed:
            assert self.opened is not None
            assert self.breaker.open_until == self.opened + self.breaker_rules.open_for

    @invariant()
    def a_closed_breaker_has_no_probe(self) -> None:
        assert not (self.breaker.is_closed and self.breaker.probe)


TestTheBreaker = LaneUnderAnyInterleaving.TestCase
TestTheBreaker.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
