import asyncio
import datetime
import json
import math
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from executor_world import (
    PNG,
    SHA256,
    TRACEPARENT,
    USAGE,
    FakeImages,
    FakeModel,
    FixedRandomness,
    answer,
    assignment,
    for_ever,
    local_images,
    raising,
)

from devkit.virtual_time import EPOCH, VirtualClock, run
from executor.attempt import Attempt, Interruption
from executor.call_gate import CallGate
from executor.execute import LARGE_TEXT, Execute
from executor.ports import (
    BadImage,
    ConnectionBroken,
    ImageSourceAway,
    ImageUnavailable,
    ModelAnswer,
    ModelImage,
    ModelRequest,
    NotConnected,
    Progress,
    ProviderRefused,
    UnreadableAnswer,
    UnsendableRequest,
)
from executor.provider_key import ProviderKeys
from executor.slots import Slots
from executor.spans import Spans
from executor.validation import Validator, Validators
from executor.work import Assignment, AttemptId, Failed, Generation, Outcome, Released, Stage, Succeeded, Throttled
from runtime.tracing import Tracing

PROVIDER_KEY = "a/key~of-a-gateway"


class RecordedProgress:
    """Takes every stage at once; nobody answers those that are ready."""

    def __init__(self, events: list[str]) -> None:
        self.events = events

    def enter(self, progress: Progress) -> None:
        self.events.append(progress.stage.name)

    def ready(self, attempt_id: AttemptId) -> None:
        self.events.append("ready")

    async def announce(self, progress: Progress) -> None:
        await asyncio.sleep(0)
        self.events.append(progress.stage.name)


class Bench:
    """One attempt's surroundings."""

    def __init__(
        self,
        model: FakeModel | None = None,
        images: FakeImages | None = None,
        *,
        lanes: tuple[str, ...] = ("gemini/*",),
    ) -> None:
        self.clock = VirtualClock()
        self.events: list[str] = []
        self.model = model or FakeModel()
        self.slots = Slots(capacity=3)
        self.keys = ProviderKeys(lanes=lanes, slots=self.slots, clock=self.clock)
        self.images = images or FakeImages()
        self.execute = self.execute_with({"gemini": self.model, "deepseek": self.model})

    def execute_with(self, models: Mapping[str, FakeModel]) -> Execute:
        progress = RecordedProgress(self.events)
        gate = CallGate(announcer=progress, clock=self.clock)
        gate.renew_lease(math.inf)
        return Execute(
            models=models,
            images=local_images(self.images, self.clock),
            validators=Validators(),
            progress=progress,
            gate=gate,
            keys=self.keys,
            spans=Spans(Tracing(randomness=FixedRandomness()), provider_urls={"gemini": "https://provider"}),
            clock=self.clock,
            provider_keys={"gemini": PROVIDER_KEY},
        )

    async def run(self, job: Assignment) -> Outcome:
        outcome = await self.execute.run(Attempt(job, clock=self.clock))
        assert outcome is not None
        return outcome


def outcome_of(
    job: Assignment | None = None, *, model: FakeModel | None = None, images: FakeImages | None = None
) -> Outcome:
    async def main() -> Outcome:
        return await Bench(model, images).run(job or assignment())

    return run(main())


def failure_of(error: Exception) -> tuple[object, bool]:
    outcome = outcome_of(model=FakeModel(raising(error)))
    return outcome.verdict, outcome.paid


def test_a_valid_answer_succeeds_with_everything_the_provider_counted() -> None:
    outcome = outcome_of()

    assert outcome.verdict == Succeeded('{"total":12.5}')
    assert (outcome.usage, outcome.model_version, outcome.paid) == (USAGE, "fake", True)
    assert (outcome.traceparent, outcome.finish_time) == (TRACEPARENT, EPOCH)


def test_the_model_is_asked_once_with_the_job_unchanged() -> None:
    model = FakeModel()
    outcome_of(assignment(system_instruction="Be exact."), model=model)

    assert model.requests == [
        ModelRequest(
            provider="gemini",
            model="gemini-3.8-flash",
            prompt="Read the receipt.",
            system_instruction="Be exact.",
            images=(ModelImage(PNG, "image/png"),),
            schema_json=assignment().schema_json,
            generation=assignment().generation,
            timeout=datetime.timedelta(seconds=30),
        )
    ]


def test_the_stages_are_told_in_order_and_the_call_follows_its_announcement() -> None:
    async def main() -> list[str]:
        bench = Bench()

        async def respond(_: ModelRequest) -> ModelAnswer:
            bench.events.append("call")
            return answer()

        bench.model.respond = respond
        await bench.run(assignment())
        return bench.events

    assert run(main()) == ["FETCHING_IMAGE", "GEMINI_ANALYZING", "call", "VALIDATING"]


def test_every_stage_has_its_duration() -> None:
    async def respond(_: ModelRequest) -> ModelAnswer:
        await asyncio.sleep(7)
        return answer()

    outcome = outcome_of(assignment(inline=False), model=FakeModel(respond), images=FakeImages(seconds=2))

    assert outcome.stage_seconds == {
        Stage.FETCHING_IMAGE: pytest.approx(2),
        Stage.GEMINI_ANALYZING: pytest.approx(7),
        Stage.VALIDATING: pytest.approx(0),
    }


def test_a_large_image_is_fetched_from_the_scheduler() -> None:
    images = FakeImages()
    outcome = outcome_of(assignment(inline=False), images=images)

    assert isinstance(outcome.verdict, Succeeded)
    assert images.fetched == [assignment().attempt_id.job_id]


def test_an_image_is_asked_for_again_while_the_scheduler_is_away() -> None:
    images = FakeImages(ImageSourceAway("no"), ImageSourceAway("no"))
    outcome = outcome_of(assignment(inline=False), images=images)

    assert isinstance(outcome.verdict, Succeeded)
    assert len(images.fetched) == 3


@pytest.mark.parametrize("retryable", [True, False])
def test_an_image_that_will_not_be_had_fails_the_attempt_unpaid(retryable: bool) -> None:
    gone = ImageUnavailable("The job does not run.", retryable=retryable)
    outcome = outcome_of(assignment(inline=False), images=FakeImages(gone))

    assert outcome.verdict == Failed(kind="IMAGE_UNAVAILABLE", message="The job does not run.", retryable=retryable)
    assert not outcome.paid


def test_an_image_that_is_none_fails_the_job_before_any_call() -> None:
    model = FakeModel()
    outcome = outcome_of(
        assignment(inline=False), model=model, images=FakeImages(BadImage("It is broken.", sha256=SHA256))
    )

    assert outcome.verdict == Failed(kind="BAD_IMAGE", message="It is broken.", retryable=False, image_sha256=SHA256)
    assert not outcome.paid
    assert list(outcome.stage_seconds) == [Stage.FETCHING_IMAGE]
    assert model.requests == []


def test_an_inline_image_whose_bytes_are_others_than_its_hash_says_is_not_sent() -> None:
    model = FakeModel()
    outcome = outcome_of(assignment(inline_images={SHA256: b"other"}), model=model)

    assert isinstance(outcome.verdict, Failed)
    assert (outcome.verdict.kind, model.requests) == ("IMAGE_UNAVAILABLE", [])


def test_an_attempt_whose_image_never_comes_goes_back_unspent() -> None:
    outcome = outcome_of(assignment(inline=False), images=FakeImages(seconds=10_000))

    assert outcome.verdict == Released("The images did not come in time.")
    assert not outcome.paid


def test_a_call_that_takes_too_long_is_a_paid_timeout() -> None:
    outcome = outcome_of(model=FakeModel(for_ever))

    assert outcome.verdict == Failed(kind="TIMEOUT", message="The attempt took longer than 30 s.", retryable=True)
    assert outcome.paid
    assert outcome.stage_seconds[Stage.GEMINI_ANALYZING] == pytest.approx(30)


def test_the_timeout_counts_from_the_start_of_the_call() -> None:
    async def respond(_: ModelRequest) -> ModelAnswer:
        await asyncio.sleep(25)
        return answer()

    outcome = outcome_of(assignment(inline=False), model=FakeModel(respond), images=FakeImages(seconds=25))

    assert isinstance(outcome.verdict, Succeeded)


def refused(status: int, body: str = "", retry_after: str | None = None) -> ProviderRefused:
    return ProviderRefused(status=status, body=body, retry_after=retry_after)


@pytest.mark.parametrize(
    ("error", "kind", "retryable", "paid"),
    [
        (refused(503, '{"error": {"status": "UNAVAILABLE", "message": "overloaded"}}'), "PROVIDER_ERROR", True, False),
        (refused(404), "BAD_REQUEST", False, False),
        (NotConnected("refused"), "PROVIDER_ERROR", True, False),
        (ConnectionBroken("reset"), "PROVIDER_ERROR", True, True),
        (UnreadableAnswer("no JSON", body="<html>"), "PROVIDER_ERROR", True, True),
        (UnsendableRequest("a schema"), "BAD_REQUEST", False, False),
    ],
)
def test_an_error_of_the_call_decides_kind_and_payment(
    error: Exception, kind: str, retryable: bool, paid: bool
) -> None:
    verdict, was_paid = failure_of(error)

    assert isinstance(verdict, Failed)
    assert (verdict.kind, verdict.retryable, was_paid) == (kind, retryable, paid)


def test_a_limit_of_the_provider_throttles_with_its_own_time() -> None:
    assert failure_of(refused(429, retry_after="12")) == (
        Throttled(message="HTTP 429: no message", retry_after=datetime.timedelta(seconds=12)),
        False,
    )


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (402, "Insufficient Balance"),
        (429, "Your prepayment credits are depleted."),
        (404, "models/gemini-2.0-flash is not found for API version v1beta"),
    ],
)
def test_what_only_a_person_can_mend_stops_the_lane_and_gives_the_job_back_unspent(status: int, message: str) -> None:
    verdict, paid = failure_of(refused(status, json.dumps({"error": {"message": message}})))

    assert isinstance(verdict, Throttled)
    assert message in verdict.lane_stop
    assert not paid


def test_a_daily_quota_throttles_to_the_end_of_the_day_in_california() -> None:
    quota = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}]}
    body = json.dumps({"error": {"message": "Quota.", "details": [quota, {"retryDelay": "18s"}]}})

    # It is 01:00 there.
    assert failure_of(refused(429, body)) == (
        Throttled(message="HTTP 429: Quota.", retry_after=datetime.timedelta(hours=23)),
        False,
    )


def test_a_refused_key_releases_the_job_and_stops_new_work_for_a_minute() -> None:
    async def main() -> tuple[Outcome, list[int]]:
        bench = Bench(FakeModel(raising(refused(401))))
        outcome = await bench.run(assignment())
        frees = [bench.slots.free]
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(bench.keys.run())
            for _ in range(2):
                await asyncio.sleep(31)
                frees.append(bench.slots.free)
            bench.model.respond = None
            await bench.run(assignment())
            frees.append(bench.slots.free)
            waiting.cancel()
        return outcome, frees

    outcome, frees = run(main())

    assert isinstance(outcome.verdict, Released)
    assert not outcome.paid
    assert frees == [0, 0, 1, 3]


def test_what_a_provider_says_is_told_without_its_key() -> None:
    assert failure_of(refused(500, f"Who are you, {PROVIDER_KEY}?"))[0] == Failed(
        kind="PROVIDER_ERROR",
        message="HTTP 500: Who are you, [redacted]?",
        retryable=True,
        raw_answer="Who are you, [redacted]?",
    )


def second_step() -> Assignment:
    fields: dict[str, Any] = {
        "lane": "deepseek/deepseek-v4-flash",
        "model": "deepseek-v4-flash",
        "images": (),
        "inline_images": {},
        "step": 2,
        "steps": 2,
        "input_json": '{"items":[1]}',
    }
    return assignment(**fields)


def test_a_second_step_is_asked_of_its_own_provider_with_what_the_first_gave() -> None:
    async def main() -> tuple[Outcome, list[str], ModelRequest]:
        bench = Bench(lanes=("gemini/*", "deepseek/*"))
        gemini = FakeModel()
        bench.execute = bench.execute_with({"gemini": gemini, "deepseek": bench.model})
        outcome = await bench.run(second_step())
        assert gemini.requests == []
        return outcome, bench.events, bench.model.requests[0]

    outcome, stages, request = run(main())

    assert (outcome.step, outcome.steps, outcome.verdict) == (2, 2, Succeeded('{"total":12.5}'))
    assert stages == ["DEEPSEEK_ANALYZING", "VALIDATING"]
    assert (request.provider, request.model) == ("deepseek", "deepseek-v4-flash")
    assert (request.input_json, request.images) == ('{"items":[1]}', ())


def test_a_key_that_one_provider_refuses_stops_no_job_of_another() -> None:
    async def main() -> tuple[Outcome, Outcome, Outcome]:
        bench = Bench(FakeModel(raising(refused(401))), lanes=("gemini/*", "deepseek/*"))
        first = await bench.run(second_step())
        bench.model.respond = None
        second = await bench.run(second_step())
        return first, second, await bench.run(assignment())

    first, second, of_another = run(main())

    assert isinstance(first.verdict, Released)
    assert second.verdict == first.verdict
    assert not second.paid
    assert of_another.verdict == Succeeded('{"total":12.5}')


@pytest.mark.parametrize("told", ["", "STANDARD"])
def test_the_tier_is_what_the_provider_says_it_served_else_what_was_asked(told: str) -> None:
    async def respond(_: ModelRequest) -> ModelAnswer:
        return answer(service_tier=told)

    outcome = outcome_of(assignment(generation=Generation(service_tier="FLEX")), model=FakeModel(respond))

    assert outcome.service_tier == (told or "FLEX")


@pytest.mark.parametrize(
    ("given", "kind", "retryable"),
    [
        (answer("not json"), "INVALID_OUTPUT", True),
        (answer('{"total": "x"}'), "INVALID_OUTPUT", True),
        (answer('{"total": 1', finish_reason="MAX_TOKENS"), "INVALID_OUTPUT", True),
        (answer(""), "INVALID_OUTPUT", True),
        (answer("", finish_reason="", block_reason="SAFETY"), "BLOCKED", False),
    ],
)
def test_a_useless_answer_fails_but_is_paid_for_and_counted(given: ModelAnswer, kind: str, retryable: bool) -> None:
    async def respond(_: ModelRequest) -> ModelAnswer:
        return given

    outcome = outcome_of(model=FakeModel(respond))

    assert isinstance(outcome.verdict, Failed)
    assert (outcome.verdict.kind, outcome.verdict.retryable) == (kind, retryable)
    assert outcome.verdict.raw_answer == given.text
    assert (outcome.paid, outcome.usage) == (True, USAGE)


def test_a_schema_that_cannot_be_checked_costs_no_call() -> None:
    model = FakeModel()
    outcome = outcome_of(assignment(schema_json='{"$ref": "https://elsewhere/schema"}'), model=model)

    assert isinstance(outcome.verdict, Failed)
    assert (outcome.verdict.kind, model.requests) == ("BAD_REQUEST", [])


@pytest.mark.parametrize(
    ("why", "check"),
    [
        (Interruption.CANCELLED, lambda outcome: outcome.verdict.kind == "CANCELLED" and outcome.paid),
        (Interruption.STOPPED, lambda outcome: outcome.verdict == Released("why") and outcome.paid),
    ],
)
def test_an_interruption_ends_the_call(why: Interruption, check: Callable[[Outcome], bool]) -> None:
    async def main() -> Outcome | None:
        bench = Bench(FakeModel(for_ever))
        attempt = Attempt(assignment(), clock=bench.clock)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(bench.execute.run(attempt))
            await bench.model.called.wait()
            attempt.interrupt(why, "why")
        return running.result()

    outcome = run(main())

    assert outcome is not None
    assert check(outcome)


def test_an_interruption_after_the_end_changes_nothing() -> None:
    async def main() -> Outcome | None:
        bench = Bench()
        attempt = Attempt(assignment(), clock=bench.clock)
        outcome = await bench.execute.run(attempt)
        attempt.interrupt(Interruption.CANCELLED, "too late")
        await asyncio.sleep(1)
        return outcome

    outcome = run(main())

    assert outcome is not None
    assert isinstance(outcome.verdict, Succeeded)


def test_a_large_answer_is_checked_beside_the_event_loop() -> None:
    threads: set[int] = set()

    async def respond(_: ModelRequest) -> ModelAnswer:
        return answer(json.dumps({"total": 1, "rest": "x" * LARGE_TEXT}))

    validate = Validator.validate

    def spying(self: Validator, text: str) -> str:
        threads.add(threading.get_ident())
        return validate(self, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Validator, "validate", spying)
        # Virtual time does not wait for threads.
        outcome = asyncio.run(Bench(FakeModel(respond)).run(assignment()))

    assert isinstance(outcome.verdict, Succeeded)
    assert threading.get_ident() not in threads
    assert threads


@pytest.mark.parametrize(
    ("error", "unanswered"),
    [
        (ConnectionBroken("reset"), True),
        (UnreadableAnswer("no JSON", body="<html>"), False),
        (NotConnected("refused"), False),
        (refused(500), False),
    ],
)
def test_a_call_that_was_sent_and_got_no_answer_is_told_apart(error: Exception, unanswered: bool) -> None:
    assert outcome_of(model=FakeModel(raising(error))).unanswered == unanswered


def test_a_timeout_got_no_answer_and_an_answer_did() -> None:
    assert outcome_of(model=FakeModel(for_ever)).unanswered
    assert not outcome_of().unanswered


def test_flaw_and_path_of_an_answer_that_does_not_fit_are_told() -> None:
    async def respond(_: ModelRequest) -> ModelAnswer:
        return answer('{"total": "a secret"}')

    verdict = outcome_of(model=FakeModel(respond)).verdict

    assert isinstance(verdict, Failed)
    assert (verdict.flaw, verdict.output_path) == ("SCHEMA_MISMATCH", "total")
    assert "secret" not in verdict.message
    assert "secret" in verdict.raw_answer
