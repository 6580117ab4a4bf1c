"""An executor that speaks the Work stream by hand, well and badly."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2
from system_calls import details

from devkit.stack import Stack
from visionjobs.v1 import executor_service_pb2 as pb
from visionjobs.v1 import executor_service_pb2_grpc, job_pb2

JOB = "01990000-0000-7000-8000-000000000000"
REF = pb.AttemptRef(job_id=JOB, attempt=1)
HELLO = pb.WorkRequest(hello=pb.Hello(executor_id="by-hand", host="h", version="1", capacity=1, lanes=["none/*"]))


@pytest.fixture
async def executors(system: Stack) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(system.address) as channel:
        yield executor_service_pb2_grpc.ExecutorServiceStub(channel)


async def test_a_stream_begins_with_a_welcome_and_echoes_heartbeats(executors: Any) -> None:
    call = executors.Work()
    await call.write(HELLO)
    welcome = (await call.read()).welcome
    await call.write(pb.WorkRequest(heartbeat=pb.Heartbeat(number=7)))

    assert welcome.session >= 1
    assert welcome.heartbeat_interval.seconds == 3
    assert (await call.read()).heartbeat.number == 7
    call.cancel()


async def test_an_outcome_that_nobody_needs_is_acknowledged(executors: Any) -> None:
    call = executors.Work()
    await call.write(HELLO)
    await call.read()
    await call.write(pb.WorkRequest(outcomes=[pb.Outcome(ref=REF, succeeded=pb.Succeeded(output_json="{}"))]))

    assert list((await call.read()).outcome_acks) == [REF]
    call.cancel()


async def test_held_attempts_that_are_not_the_executors_are_superseded(executors: Any) -> None:
    hello = pb.WorkRequest()
    hello.CopyFrom(HELLO)
    hello.hello.held.append(REF)
    call = executors.Work()
    await call.write(hello)

    assert list((await call.read()).welcome.superseded) == [REF]
    call.cancel()


async def test_a_second_hello_of_an_executor_ends_its_first_stream(executors: Any) -> None:
    first, second = executors.Work(), executors.Work()
    await first.write(HELLO)
    await first.read()
    await second.write(HELLO)
    await second.read()

    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await first.read()
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    second.cancel()


def with_hello(change: Callable[[pb.Hello], None]) -> pb.WorkRequest:
    request = pb.WorkRequest()
    request.CopyFrom(HELLO)
    change(request.hello)
    return request


def _progress(stage: Any) -> pb.Progress:
    return pb.Progress(ref=REF, stage=stage)


def _spent(stage: Any) -> job_pb2.StageDuration:
    return job_pb2.StageDuration(stage=stage)


BROKEN = {
    "no hello": [pb.WorkRequest(credit=pb.Credit(free_slots=1))],
    "hello without an id": [with_hello(lambda hello: hello.ClearField("executor_id"))],
    "hello without a lane": [with_hello(lambda hello: hello.ClearField("lanes"))],
    "hello without capacity": [with_hello(lambda hello: hello.ClearField("capacity"))],
    "hello twice": [HELLO, HELLO],
    "junk for a job id": [
        HELLO,
        pb.WorkRequest(progress=[pb.Progress(ref=pb.AttemptRef(job_id="x"), stage=job_pb2.JOB_STAGE_STARTING)]),
    ],
}

# What a newer executor may say.
UNREADABLE = {
    "an unknown stage": pb.WorkRequest(
        progress=[_progress(99)], outcomes=[pb.Outcome(ref=REF, released=pb.Released())]
    ),
    "an outcome without a verdict": pb.WorkRequest(outcomes=[pb.Outcome(ref=REF)]),
    "an outcome with an unknown stage": pb.WorkRequest(
        outcomes=[pb.Outcome(ref=REF, released=pb.Released(), stage_durations=[_spent(99)])]
    ),
}


async def say(call: Any, requests: list[pb.WorkRequest]) -> None:
    """Send the messages, and read until the stream ends."""
    for request in requests:
        await call.write(request)
    while await call.read() is not grpc.aio.EOF:
        pass


@pytest.mark.parametrize("requests", BROKEN.values(), ids=BROKEN.keys())
async def test_a_stream_that_breaks_the_rules_is_told_so(executors: Any, requests: list[pb.WorkRequest]) -> None:
    call = executors.Work()

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await say(call, requests)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details(refused.value)[error_details_pb2.ErrorInfo].reason == "PROTOCOL_VIOLATION"


@pytest.mark.parametrize("request_", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_what_cannot_be_read_does_not_end_the_stream(executors: Any, request_: pb.WorkRequest) -> None:
    call = executors.Work()
    await call.write(HELLO)
    await call.read()

    await call.write(request_)

    assert (await call.read()).outcome_acks == [REF]
    call.cancel()


async def test_absurd_numbers_break_nothing(executors: Any) -> None:
    call = executors.Work()
    await call.write(HELLO)
    await call.read()
    absurd = duration_pb2.Duration(seconds=300_000_000_000)
    await call.write(
        pb.WorkRequest(
            credit=pb.Credit(free_slots=-5, assignments_received=-(2**60)),
            outcomes=[
                pb.Outcome(ref=REF, throttled=pb.Throttled(message="a\x00b", retry_after=absurd)),
                pb.Outcome(ref=REF, failed=pb.Failed(error=job_pb2.JobError(kind="\x00"), retry_after=absurd)),
            ],
        )
    )

    assert len((await call.read()).outcome_acks) >= 1
    call.cancel()


async def test_an_image_is_given_only_for_a_running_job(executors: Any) -> None:
    for request in (pb.FetchImageRequest(job_id=JOB, sha256="ab" * 32), pb.FetchImageRequest(job_id="x", sha256="y")):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await anext(aiter(executors.FetchImage(request)))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
