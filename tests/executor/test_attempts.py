import asyncio
import json

import pytest
from fakes import FakeClock, FakeImages, FakeModel, FakeRandomness, assignment

from executor.execute import Attempts
from executor.ports import CallFailed
from executor.work import AttemptId, Failed, Outcome, Released, Stage, Succeeded, Throttled, Usage
from runtime.tracing import Tracing


class Bench:
    """Attempts with fakes around them."""

    def __init__(self, model: FakeModel | None = None, images: FakeImages | None = None) -> None:
        self.model = model or FakeModel()
        self.images = images or FakeImages()
        self.stages: list[Stage] = []
        self.attempts = Attempts(
            model=self.model,
            images=self.images,
            clock=FakeClock(),
            tracing=Tracing(randomness=FakeRandomness()),
            report_stage=self._note,
        )

    def _note(self, attempt: AttemptId, stage: Stage) -> None:
        self.stages.append(stage)

    async def run(self, *, inline: bool = True) -> Outcome:
        return await self.attempts.begin(assignment(inline=inline)).run()


async def test_a_valid_answer_succeeds_through_every_stage() -> None:
    bench = Bench(FakeModel('{"n": 7, "extra": "ü"}'))

    outcome = await bench.run()

    assert outcome.verdict == Succeeded('{"n":7,"extra":"ü"}')
    assert (outcome.paid, outcome.usage, outcome.model_version) == (True, Usage(input_tokens=10), "fake")
    assert bench.stages == [Stage.FETCHING_IMAGE, Stage.GEMINI_ANALYZING, Stage.VALIDATING]
    assert set(outcome.stage_seconds) == {Stage.STARTING, *bench.stages}


async def test_the_stage_is_told_before_the_call_is_made() -> None:
    bench = Bench(FakeModel(hold=True))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.run())
        await bench.model.called.wait()
        assert bench.stages[-1] is Stage.GEMINI_ANALYZING
        bench.model.go.set()


@pytest.mark.parametrize(
    "text", ["", "no JSON", '{"n": NaN}', "[1]", '{"n": 1, "s": "\\ud800"}', '{"n": "seven"}', "{}", "[" * 100_000]
)
async def test_an_answer_that_does_not_fit_is_invalid_but_paid(text: str) -> None:
    outcome = await Bench(FakeModel(text)).run()

    assert isinstance(outcome.verdict, Failed)
    assert (outcome.verdict.kind, outcome.verdict.retryable) == ("INVALID_OUTPUT", True)
    assert outcome.verdict.raw_answer == text[: 64 * 1024]
    assert outcome.paid
    assert outcome.usage == Usage(input_tokens=10)


async def test_what_the_model_client_says_of_a_failure_is_passed_on() -> None:
    failure = CallFailed(Throttled("quota", 26.0), paid=False, usage=Usage(input_tokens=3), model_version="m")

    outcome = await Bench(FakeModel(failure=failure)).run()

    assert (outcome.verdict, outcome.paid) == (Throttled("quota", 26.0), False)
    assert (outcome.usage, outcome.model_version) == (Usage(input_tokens=3), "m")


async def test_an_unforeseen_error_fails_the_attempt_and_not_the_executor() -> None:
    outcome = await Bench(FakeModel(failure=ZeroDivisionError())).run()

    assert isinstance(outcome.verdict, Failed)
    assert (outcome.verdict.kind, outcome.verdict.retryable, outcome.paid) == ("INTERNAL", True, True)


async def test_a_large_image_is_fetched_once_for_many_attempts() -> None:
    bench = Bench()

    for _ in range(3):
        assert isinstance((await bench.run(inline=False)).verdict, Succeeded)

    assert bench.images.fetches == 1


async def test_a_damaged_image_is_not_sent_to_the_model() -> None:
    bench = Bench(images=FakeImages(b"damaged"))

    outcome = await bench.run(inline=False)

    assert isinstance(outcome.verdict, Failed)
    assert (outcome.verdict.kind, outcome.paid) == ("IMAGE_UNAVAILABLE", False)
    assert bench.model.calls == []


async def test_an_attempt_stopped_before_its_call_is_released_unspent() -> None:
    bench = Bench(images=FakeImages(hold=True))
    attempt = bench.attempts.begin(assignment(inline=False))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(attempt.run())
        await bench.images.asked.wait()
        assert not attempt.call_begun
        attempt.stop("draining")

    assert running.result().verdict == Released("draining")
    assert not running.result().paid


async def test_an_attempt_stopped_in_its_call_may_have_been_billed() -> None:
    bench = Bench(FakeModel(hold=True))
    attempt = bench.attempts.begin(assignment())
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(attempt.run())
        await bench.model.called.wait()
        assert attempt.call_begun
        attempt.stop("cancelled")

    outcome = running.result()
    assert isinstance(outcome.verdict, Failed)
    assert (outcome.verdict.kind, outcome.paid) == ("CANCELLED", True)


async def test_an_attempt_stopped_before_it_began_makes_no_call() -> None:
    bench = Bench()
    attempt = bench.attempts.begin(assignment())
    attempt.stop("draining")

    outcome = await attempt.run()

    assert outcome.verdict == Released("draining")
    assert bench.model.calls == []


async def test_a_cancelled_task_stays_cancelled() -> None:
    bench = Bench(FakeModel(hold=True))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(bench.run())
        await bench.model.called.wait()
        running.cancel()

    assert running.cancelled()


def test_the_answer_keeps_the_models_order() -> None:
    from executor.validation import validated

    assert list(json.loads(validated('{"b": 1, "a": 2}', '{"type": "object"}'))) == ["b", "a"]
