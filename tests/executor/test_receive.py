import asyncio
import contextlib
from collections.abc import AsyncIterator

from fakes import (
    FakeClock,
    FakeDialer,
    FakeImages,
    FakeLink,
    FakeModel,
    FakeRandomness,
    FakeSpool,
    assignment,
    attempt_id,
    settle,
)

from executor.execute import Attempts
from executor.ports import (
    Accepted,
    Assigned,
    Cancels,
    Credit,
    Drain,
    Echo,
    Hello,
    OutcomeAcks,
    OutcomeReport,
    Welcome,
)
from executor.receive import Identity, Receiver
from executor.report import Reporter
from executor.work import Outcome
from runtime.tracing import Tracing


class Bench:
    """An executor with fakes all around; `running` runs it."""

    def __init__(self, *links: FakeLink, model: FakeModel | None = None, images: FakeImages | None = None) -> None:
        self.model = model or FakeModel()
        self.clock = FakeClock()
        self.spool = FakeSpool()
        self.dialer = FakeDialer(*links)
        self.connections: list[bool] = []
        self.outcomes: list[Outcome] = []
        self.reporter = Reporter(
            spool=self.spool, clock=self.clock, encode=self._encode, on_change=lambda: self.receiver.send_credit()
        )
        self.receiver = Receiver(
            identity=Identity(executor_id="e", host="h", version="1", capacity=2, lanes=["gemini/*"]),
            addresses=["first", "second"],
            dialer=self.dialer,
            attempts=Attempts(
                model=self.model,
                images=images or FakeImages(),
                clock=self.clock,
                tracing=Tracing(randomness=FakeRandomness()),
                report_stage=lambda attempt, stage: self.receiver.report_stage(attempt, stage),
            ),
            reporter=self.reporter,
            clock=self.clock,
            randomness=FakeRandomness(),
            on_connected=self._on_connected,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            loops = [tasks.create_task(self.reporter.run()), tasks.create_task(self.receiver.run())]
            await settle()
            yield
            for loop in loops:
                loop.cancel()

    def _encode(self, outcome: Outcome) -> bytes:
        self.outcomes.append(outcome)
        return f"{outcome.attempt_id.job_id}/{outcome.attempt_id.attempt}".encode()

    async def _on_connected(self, *, connected: bool) -> None:
        self.connections.append(connected)


def reports(link: FakeLink) -> list[bytes]:
    return [item.payload for item in link.sent if isinstance(item, OutcomeReport)]


async def test_a_stream_begins_with_hello_and_then_the_credit() -> None:
    bench = Bench(link := FakeLink())
    async with bench.running():
        assert isinstance(link.sent[0], Hello)
        assert link.sent[0].lanes == ["gemini/*"]
        assert link.sent[1] == Credit(2, 0)
        assert bench.connections == [True]


async def test_an_assignment_is_accepted_worked_on_and_reported_from_the_spool() -> None:
    bench = Bench(link := FakeLink())
    async with bench.running():
        link.say(Assigned(assignment(1)))
        await settle()

        assert Accepted(attempt_id(1)) in link.sent
        assert reports(link) == [bench.spool.records[attempt_id(1)]]
        assert link.credit == Credit(2, 1)

        link.say(OutcomeAcks([attempt_id(1)]))
        await settle()
        assert bench.spool.records == {}


async def test_running_attempts_lower_the_credit() -> None:
    bench = Bench(link := FakeLink(), model=FakeModel(hold=True))
    async with bench.running():
        link.say(Assigned(assignment(1)), Assigned(assignment(2)))
        await settle()
        bench.receiver.send_credit()
        assert link.credit == Credit(0, 2)

        bench.model.go.set()
        await settle()
        assert link.credit == Credit(2, 2)


async def test_an_attempt_runs_on_while_the_stream_is_broken_and_is_named_and_reported_on_the_next() -> None:
    bench = Bench(first := FakeLink(), second := FakeLink(), model=FakeModel(hold=True))
    async with bench.running():
        first.say(Assigned(assignment(1)))
        await settle()
        first.cut()
        await settle()
        bench.model.go.set()
        await settle()

        await bench.clock.pass_by(2)

        assert bench.dialer.dialled == ["first", "second"]
        assert isinstance(second.sent[0], Hello)
        assert list(second.sent[0].held) == [attempt_id(1)]
        assert reports(second) == [bench.spool.records[attempt_id(1)]]
        assert second.credit == Credit(2, 0)
        assert bench.connections == [True, False, True]


async def test_an_unacknowledged_outcome_is_sent_again_on_every_stream() -> None:
    bench = Bench(first := FakeLink(), second := FakeLink())
    async with bench.running():
        first.say(Assigned(assignment(1)))
        await settle()
        first.cut()
        await settle()
        await bench.clock.pass_by(2)

        assert reports(first) == reports(second) != []


async def test_a_superseded_attempt_is_stopped() -> None:
    second = FakeLink.__new__(FakeLink)
    second.sent, second._incoming = [], asyncio.Queue()
    second.say(Welcome(session=2, heartbeat_seconds=3, superseded=[attempt_id(1)]))
    bench = Bench(first := FakeLink(), second, model=FakeModel(hold=True))
    async with bench.running():
        first.say(Assigned(assignment(1)))
        await settle()
        first.cut()
        await settle()
        await bench.clock.pass_by(2)

        assert [outcome.attempt_id for outcome in bench.outcomes] == [attempt_id(1)]


async def test_a_cancelled_attempt_is_stopped_within_its_call() -> None:
    bench = Bench(link := FakeLink(), model=FakeModel(hold=True))
    async with bench.running():
        link.say(Assigned(assignment(1)), Assigned(assignment(2)))
        await settle()
        link.say(Cancels([attempt_id(2)]))
        await settle()

        assert [outcome.attempt_id for outcome in bench.outcomes] == [attempt_id(2)]


async def test_heartbeats_are_numbered_and_every_third_one_lists_what_is_held() -> None:
    bench = Bench(link := FakeLink(), model=FakeModel(hold=True))
    async with bench.running():
        link.say(Assigned(assignment(1)))
        for number in range(1, 4):
            await settle()
            link.say(Echo(number))
            await settle()
            await bench.clock.pass_by(3)

        assert [beat.number for beat in link.heartbeats[:3]] == [1, 2, 3]
        assert [beat.held for beat in link.heartbeats[:3]] == [None, None, [attempt_id(1)]]


async def test_a_heartbeat_that_is_not_echoed_in_four_seconds_makes_it_dial_the_next_scheduler() -> None:
    bench = Bench(FakeLink(), FakeLink())
    async with bench.running():
        await bench.clock.pass_by(3.9)
        assert bench.dialer.dialled == ["first"]

        await bench.clock.pass_by(2.5)
        assert bench.dialer.dialled == ["first", "second"]


async def test_an_echo_keeps_the_stream() -> None:
    bench = Bench(link := FakeLink())
    async with bench.running():
        for number in range(1, 11):
            link.say(Echo(number))
            await bench.clock.pass_by(3)

        assert bench.dialer.dialled == ["first"]


async def test_a_draining_executor_has_no_credit() -> None:
    bench = Bench(link := FakeLink())
    async with bench.running():
        link.say(Drain("maintenance"))
        await settle()

        assert link.credit == Credit(0, 0)


async def test_an_unwritable_spool_means_no_credit_until_it_is_writable_again() -> None:
    bench = Bench(link := FakeLink())
    bench.spool.broken = True
    async with bench.running():
        link.say(Assigned(assignment(1)))
        await settle()
        assert link.credit == Credit(0, 1)
        assert reports(link) == []

        bench.spool.broken = False
        await bench.clock.pass_by(1)
        assert link.credit == Credit(2, 1)
        assert len(reports(link)) == 1


async def test_outcomes_of_dead_executors_are_delivered() -> None:
    bench = Bench(link := FakeLink())
    bench.spool.left_behind = [(attempt_id(9), b"left behind")]
    async with bench.running():
        assert reports(link) == [b"left behind"]


async def test_a_stop_finishes_the_call_releases_the_rest_and_waits_for_the_acknowledgement() -> None:
    images = FakeImages(hold=True)
    bench = Bench(link := FakeLink(), model=FakeModel(hold=True), images=images)
    async with bench.running():
        link.say(Assigned(assignment(1)), Assigned(assignment(2, inline=False)))
        await settle()
        async with asyncio.TaskGroup() as tasks:
            stopping = tasks.create_task(bench.receiver.stop(300))
            await settle()
            assert link.credit.free_slots == 0
            assert [outcome.attempt_id for outcome in bench.outcomes] == [attempt_id(2)]

            bench.model.go.set()
            await settle()
            assert not stopping.done()
            link.say(OutcomeAcks([attempt_id(1), attempt_id(2)]))
            await settle()
            assert stopping.done()
