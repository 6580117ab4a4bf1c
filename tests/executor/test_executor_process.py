"""The installed command as a real process, between a scheduler and a provider of the test's own."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import fake_provider
import pytest
import scheduler_in_process
from executor_world import PNG, SCHEMA, SHA256
from fake_provider import FakeProvider, answered, response
from scheduler_in_process import SchedulerInProcess

from devkit.programs import Program, logged, program
from devkit.stack import clean_environment
from runtime.health_check import is_serving
from visionjobs.v1 import executor_service_pb2 as pb
from visionjobs.v1 import job_pb2

COMMAND = "visionjobs-executor"
KEY = "sk-0123456789abcdef0123456789abcdef"
JOB_ID = "01990000-0000-7000-8000-000000000001"


@pytest.fixture
async def scheduler() -> AsyncIterator[SchedulerInProcess]:
    async with scheduler_in_process.serving() as scheduler:
        yield scheduler


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with fake_provider.serving() as provider:
        provider.answer = answered('{"total": 12.5}')
        yield provider


class Executors:
    """Starts executors that share a spool."""

    def __init__(self, folder: Path, scheduler: SchedulerInProcess, provider: FakeProvider) -> None:
        self.spool = folder / "state" / "spool"
        self._folder = folder
        self._environment = clean_environment() | {
            "EXECUTOR_SCHEDULER_ADDRESS": scheduler.address,
            "EXECUTOR_HEALTH_ADDRESS": "127.0.0.1:0",
            "EXECUTOR_SPOOL_DIR": str(self.spool),
            "GEMINI_API_KEY": "key",
            "GOOGLE_GEMINI_BASE_URL": provider.url,
        }
        self._count = 0

    @contextlib.asynccontextmanager
    async def run(self, **environment: str) -> AsyncIterator[Program]:
        """Run one while the block runs; it is connected."""
        self._count += 1
        log = self._folder / f"{self._count}.log"
        async with program(COMMAND, environment=self._environment | environment, log=log) as running:
            await running.ready(logged("scheduler_connected", "session"))
            yield running


@pytest.fixture
def executors(tmp_path: Path, scheduler: SchedulerInProcess, provider: FakeProvider) -> Executors:
    return Executors(tmp_path, scheduler, provider)


def assign(scheduler: SchedulerInProcess, *, inline: bool = True) -> None:
    assignment = pb.Assignment(
        ref=pb.AttemptRef(job_id=JOB_ID, attempt=1),
        step=1,
        lane="gemini/gemini-3.8-flash",
        spec=job_pb2.JobSpec(
            images=[job_pb2.Image(sha256=SHA256, mime_type="image/png")],
            prompt="Read the receipt.",
            response_schema_json=SCHEMA,
        ),
        images=[pb.InlineImage(sha256=SHA256, data=PNG)] if inline else [],
    )
    assignment.timeout.FromSeconds(60)
    scheduler.say(pb.WorkResponse(assignments=[assignment]))


async def ended(executor: Program) -> int:
    async with asyncio.timeout(20):
        return await executor.wait()


async def test_a_job_is_done_and_a_stop_leaves_nothing_behind(
    scheduler: SchedulerInProcess, executors: Executors
) -> None:
    async with executors.run() as executor:
        address = await executor.ready(logged("executor_started", "health_address"))
        assert await is_serving(address)
        assign(scheduler)
        await scheduler.until(lambda: scheduler.outcomes)
        executor.interrupt(signal.SIGTERM)

        assert await ended(executor) == 0

    assert scheduler.outcomes[0].succeeded.output_json == '{"total":12.5}'
    assert [each.name for each in executors.spool.iterdir()] == ["lock"]
    assert "Traceback" not in executor.log.read_text()


def last_credit(scheduler: SchedulerInProcess) -> int:
    """Return how many free slots the executor last told of."""
    return [message.credit.free_slots for message in scheduler.heard if message.HasField("credit")][-1]


async def test_a_call_under_way_is_finished_and_reported_before_the_end(
    scheduler: SchedulerInProcess, provider: FakeProvider, executors: Executors
) -> None:
    provider.before_answer = asyncio.Event()
    async with executors.run() as executor:
        address = await executor.ready(logged("executor_started", "health_address"))
        assign(scheduler)
        await provider.arrived.wait()
        executor.interrupt(signal.SIGTERM)
        await executor.ready(lambda line: line if "executor_stopping" in line else None)
        await scheduler.until(lambda: last_credit(scheduler) == 0)
        assert not await is_serving(address)
        provider.before_answer.set()

        assert await ended(executor) == 0

    assert scheduler.outcomes[0].succeeded.output_json == '{"total":12.5}'


async def test_a_call_that_outlives_the_drain_goes_back_as_paid(
    scheduler: SchedulerInProcess, provider: FakeProvider, executors: Executors
) -> None:
    provider.before_answer = asyncio.Event()
    async with executors.run(EXECUTOR_DRAIN_SECONDS="0.2") as executor:
        assign(scheduler)
        await provider.arrived.wait()
        executor.interrupt(signal.SIGTERM)

        assert await ended(executor) == 0

    (outcome,) = scheduler.outcomes
    assert outcome.WhichOneof("verdict") == "released"
    assert outcome.paid


async def test_what_was_not_called_goes_back_unpaid_at_a_stop(
    scheduler: SchedulerInProcess, executors: Executors
) -> None:
    async with executors.run() as executor:
        assign(scheduler, inline=False)
        await scheduler.until(lambda: any(request.progress for request in scheduler.heard))
        executor.interrupt(signal.SIGTERM)

        assert await ended(executor) == 0

    (outcome,) = scheduler.outcomes
    assert outcome.WhichOneof("verdict") == "released"
    assert not outcome.paid


async def test_a_second_signal_ends_it_at_once(
    scheduler: SchedulerInProcess, provider: FakeProvider, executors: Executors
) -> None:
    provider.before_answer = asyncio.Event()
    async with executors.run() as executor:
        assign(scheduler)
        await provider.arrived.wait()
        executor.interrupt(signal.SIGTERM)
        await executor.ready(lambda line: line if "executor_stopping" in line else None)
        executor.interrupt(signal.SIGTERM)

        assert await ended(executor) == 1


async def test_what_was_paid_for_survives_a_kill(scheduler: SchedulerInProcess, executors: Executors) -> None:
    scheduler.acknowledges = False
    async with executors.run() as executor:
        assign(scheduler)
        await scheduler.until(lambda: scheduler.outcomes)
        executor.kill()
        await ended(executor)
    lost = scheduler.outcomes[0]
    scheduler.heard.clear()
    scheduler.acknowledges = True

    async with executors.run() as executor:
        await scheduler.until(lambda: scheduler.outcomes)
        executor.interrupt(signal.SIGTERM)
        assert await ended(executor) == 0

    assert scheduler.outcomes == [lost]
    assert [each.name for each in executors.spool.iterdir()] == ["lock"]


async def test_without_a_key_one_line_says_what_to_set(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with program(COMMAND, environment=clean_environment(), log=log) as executor:
        assert await ended(executor) == 2

    (line,) = log.read_text().splitlines()
    assert "GEMINI_API_KEY" in line
    assert "DEEPSEEK_API_KEY" in line


@pytest.mark.parametrize(
    ("lanes", "sentence"),
    [
        ("gemini/*,deepseek/deepseek-v4-pro", "names deepseek/deepseek-v4-pro: set DEEPSEEK_API_KEY"),
        ("openai/*", "nobody knows the provider of openai/*"),
    ],
)
async def test_a_lane_without_its_providers_key_is_named(tmp_path: Path, lanes: str, sentence: str) -> None:
    environment = clean_environment() | {"EXECUTOR_LANES": lanes, "GEMINI_API_KEY": "key"}
    async with program(COMMAND, environment=environment, log=tmp_path / "log") as executor:
        assert await ended(executor) == 2

    (line,) = (tmp_path / "log").read_text().splitlines()
    assert "EXECUTOR_LANES" in line
    assert sentence in line


async def test_a_second_step_is_done_with_the_second_providers_key(
    scheduler: SchedulerInProcess, provider: FakeProvider, executors: Executors
) -> None:
    provider.answer = response(
        '\n\n{"choices": [{"message": {"content": "{\\"total\\": 2}"}, "finish_reason": "stop"}]}'
    )
    async with executors.run(DEEPSEEK_API_KEY=KEY, EXECUTOR_DEEPSEEK_BASE_URL=provider.url) as executor:
        hello = next(message.hello for message in scheduler.heard if message.HasField("hello"))
        assert list(hello.lanes) == ["gemini/*", "deepseek/*"]
        assignment = pb.Assignment(
            ref=pb.AttemptRef(job_id=JOB_ID, attempt=2),
            step=2,
            steps=2,
            lane="deepseek/deepseek-v4-flash",
            spec=job_pb2.JobSpec(prompt="Add them up.", response_schema_json=SCHEMA),
            input_json='{"items":[1,1]}',
        )
        assignment.timeout.FromSeconds(60)
        scheduler.say(pb.WorkResponse(assignments=[assignment]))
        await scheduler.until(lambda: scheduler.outcomes)

    (outcome,) = scheduler.outcomes
    assert (outcome.step, outcome.steps, outcome.succeeded.output_json) == (2, 2, '{"total":2}')
    (received,) = provider.received
    assert received.headers["authorization"] == f"Bearer {KEY}"
    assert '{"items":[1,1]}' in received.json["messages"][0]["content"]
    assert KEY not in executor.log.read_text()


async def test_the_health_check_fails_where_nobody_serves(tmp_path: Path) -> None:
    environment = clean_environment() | {"EXECUTOR_HEALTH_ADDRESS": "127.0.0.1:9"}
    async with program(COMMAND, "healthcheck", environment=environment, log=tmp_path / "log") as check:
        assert await ended(check) == 1


async def test_the_health_check_succeeds_while_a_scheduler_is_connected(tmp_path: Path, executors: Executors) -> None:
    async with executors.run() as executor:
        address = await executor.ready(logged("executor_started", "health_address"))
        environment = clean_environment() | {"EXECUTOR_HEALTH_ADDRESS": address}
        async with program(COMMAND, "healthcheck", environment=environment, log=tmp_path / "log") as check:
            assert await ended(check) == 0
