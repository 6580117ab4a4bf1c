import dataclasses
import datetime
from collections.abc import Callable

import pytest
from stores import IMAGE, IMAGE_REF, LANE, SPEC

from devkit.virtual_time import EPOCH
from scheduler.fleet import (
    Assignment,
    Downlink,
    HeartbeatEcho,
    OutcomeAck,
    Permit,
    Stop,
    Welcome,
    Withdraw,
)
from scheduler.image_cache import INLINE_BYTES
from scheduler.jobs import Generation, ImageRef, JobSpec
from scheduler.records import AttemptId, ClaimedJob
from scheduler.rpc import work_mapping
from visionjobs.v1 import executor_service_pb2 as pb

JOB_ID = "01990000-0000-7000-8000-000000000000"
ATTEMPT = AttemptId(JOB_ID, 2)
REF = pb.AttemptRef(job_id=JOB_ID, attempt=2)
MEBIBYTE = 1024 * 1024


def seconds(value: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=value)


def assignment(
    number: int = 0,
    *,
    images: dict[str, bytes] | None = None,
    images_of_spec: tuple[ImageRef, ...] = (IMAGE_REF,),
    input_json: str = "",
    **changes: object,
) -> Assignment:
    spec: JobSpec = dataclasses.replace(SPEC, images=images_of_spec, **changes)  # type: ignore[arg-type]
    return Assignment(
        job=ClaimedJob(
            attempt_id=AttemptId(f"01990000-0000-7000-8000-{number:012}", 2),
            executor_id="e1",
            session=1,
            client_id="client",
            lane=LANE,
            rank=2,
            seq=1,
            step=1,
            spec=spec,
            retry_count=0,
            permit_required=True,
            traceparent="",
            queued_time=EPOCH,
            start_time=EPOCH,
        ),
        spec=spec,
        input_json=input_json,
        images=images or {},
        traceparent="trace",
        start_within=seconds(-1),
    )


def test_every_kind_of_word_has_its_place_in_one_message() -> None:
    [message] = work_mapping.downlinks(
        [
            Welcome(session=7, heartbeat_interval=seconds(3), lost_after=seconds(10), superseded=[ATTEMPT]),
            assignment(images={IMAGE_REF.sha256: IMAGE}),
            Permit(ATTEMPT, seconds(0.5)),
            OutcomeAck(ATTEMPT),
            Stop(ATTEMPT),
            Withdraw(ATTEMPT),
            HeartbeatEcho(9),
        ]
    )

    welcome = message.welcome
    assert (welcome.session, welcome.heartbeat_interval.seconds, welcome.lost_after.seconds) == (7, 3, 10)
    assert list(message.welcome.superseded) == [REF]
    assert [(each.ref, each.validity.nanos) for each in message.permits] == [(REF, 500_000_000)]
    assert [list(refs) for refs in (message.outcome_acks, message.cancels, message.withdraws)] == [[REF]] * 3
    assert message.heartbeat.number == 9
    [sent] = message.assignments
    assert (sent.ref, sent.lane, sent.step, sent.permit_required) == (REF, LANE, 1, True)
    assert (sent.timeout.seconds, sent.start_within.ToTimedelta(), sent.traceparent) == (300, seconds(0), "trace")
    assert [(image.sha256, image.data) for image in sent.images] == [(IMAGE_REF.sha256, IMAGE)]


def test_an_executor_gets_what_the_provider_needs_and_no_more() -> None:
    generation = Generation(temperature=0.5, max_output_tokens=100)
    [message] = work_mapping.downlinks([assignment(generation=generation, labels={"a": "b"}, schema_is_struct=True)])

    spec = message.assignments[0].spec
    assert (spec.prompt, spec.response_schema_json) == (SPEC.prompt, SPEC.schema_json)
    assert (spec.generation.temperature, spec.generation.max_output_tokens) == (0.5, 100)
    assert (spec.user_id, dict(spec.labels), spec.priority) == ("", {}, 0)
    assert [image.sha256 for image in spec.images] == [IMAGE_REF.sha256]


def test_a_second_step_carries_what_the_first_gave_and_its_own_words() -> None:
    first = assignment()
    item = dataclasses.replace(
        first,
        job=dataclasses.replace(first.job, step=2, lane="deepseek/deepseek-v4-flash"),
        spec=dataclasses.replace(SPEC, images=(), prompt="Sort it.", timeout=seconds(77)),
        steps=2,
        input_json='{"items":[]}',
    )

    [message] = work_mapping.downlinks([item])

    [sent] = message.assignments
    assert (sent.step, sent.steps, sent.lane) == (2, 2, "deepseek/deepseek-v4-flash")
    assert (sent.input_json, sent.spec.prompt, list(sent.spec.images)) == ('{"items":[]}', "Sort it.", [])
    assert sent.timeout.seconds == 77


def test_an_image_that_its_executor_fetches_goes_out_with_its_whole_address() -> None:
    image = ImageRef(sha256="", mime_type="", size=0, uri="https://example.com/a.png?signature=s")

    [message] = work_mapping.downlinks([assignment(images_of_spec=(image,))])

    assert [each.uri for each in message.assignments[0].spec.images] == [image.uri]


def many_acks() -> list[Downlink]:
    return [OutcomeAck(AttemptId(f"01990000-0000-7000-8000-{number:012}", 1)) for number in range(40_000)]


def many_assignments() -> list[Downlink]:
    return [assignment(number, images={f"{number:064}": bytes(INLINE_BYTES)}) for number in range(40)]


def long_texts() -> list[Downlink]:
    return [assignment(number, prompt="😀" * 65_000) for number in range(9)]


def long_inputs() -> list[Downlink]:
    return [assignment(number, input_json="😀" * 65_000) for number in range(9)]


@pytest.mark.parametrize("make", [many_acks, many_assignments, long_texts, long_inputs])
def test_messages_stay_under_a_mebibyte_and_carry_everything_once(make: Callable[[], list[Downlink]]) -> None:
    items = make()

    messages = list(work_mapping.downlinks(items))

    assert len(messages) > 1
    assert max(message.ByteSize() for message in messages) < MEBIBYTE
    told = [ref.job_id for message in messages for ref in message.outcome_acks]
    sent = [each.ref.job_id for message in messages for each in message.assignments]
    assert len({*told, *sent}) == len(told) + len(sent) == len(items)


def test_nothing_to_say_makes_no_message() -> None:
    assert list(work_mapping.downlinks([])) == []
