import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from executor_world import assignment

from executor.ports import Credit, Hello, ImageSourceAway, ImageUnavailable, LinkBroken, Uplink
from executor.rpc.access import Access
from executor.rpc.addresses import Addresses, Target
from executor.rpc.link import SchedulerConnection
from visionjobs.v1 import executor_service_pb2 as pb
from visionjobs.v1 import executor_service_pb2_grpc

ATTEMPT = assignment().attempt_id
IMAGE = bytes(range(256)) * 3_000
HELLO = Hello(executor_id="e", host="h", version="1", capacity=3, lanes=("gemini/*",))


class Servicer(executor_service_pb2_grpc.ExecutorServiceServicer):
    """A scheduler in this process: keeps what it hears, says what it is told to."""

    def __init__(self) -> None:
        self.heard: list[pb.WorkRequest] = []
        self.to_say: asyncio.Queue[pb.WorkResponse | None] = asyncio.Queue()
        self.fetch_error: grpc.StatusCode | None = None
        self.fetching_takes: asyncio.Event | None = None
        self.fetch_began = asyncio.Event()
        self.ended = asyncio.Event()

    async def Work(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.WorkResponse]:  # noqa: N802
        try:
            self.heard.append(await anext(aiter(request_iterator)))
            yield pb.WorkResponse(welcome=pb.Welcome(session=1))
            while (message := await self.to_say.get()) is not None:
                yield message
            await context.abort(grpc.StatusCode.UNAVAILABLE, "The scheduler is stopping.")
        finally:
            self.ended.set()

    async def FetchImage(  # noqa: N802
        self, request: pb.FetchImageRequest, context: Any
    ) -> AsyncIterator[pb.FetchImageResponse]:
        self.fetch_began.set()
        if self.fetching_takes is not None:
            await self.fetching_takes.wait()
        if self.fetch_error is not None:
            await context.abort(self.fetch_error, "no")
        assert request.job_id == ATTEMPT.job_id
        for start in range(0, len(IMAGE), 100_000):
            yield pb.FetchImageResponse(chunk=IMAGE[start : start + 100_000])


@pytest.fixture
async def servicer() -> AsyncIterator[Servicer]:
    servicer = Servicer()
    server = grpc.aio.server()
    executor_service_pb2_grpc.add_ExecutorServiceServicer_to_server(servicer, server)
    servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"  # type: ignore[attr-defined]
    await server.start()
    yield servicer
    await server.stop(None)


@pytest.fixture
def connection(servicer: Servicer) -> SchedulerConnection:
    return SchedulerConnection(Addresses([servicer.address]), Access())  # type: ignore[attr-defined]


async def test_both_sides_hear_each_other(connection: SchedulerConnection, servicer: Servicer) -> None:
    async with connection.dial(0) as link:
        await link.send(Uplink(hello=HELLO, credit=Credit(3, 0)))
        welcome = await link.receive()
        servicer.to_say.put_nowait(
            pb.WorkResponse(outcome_acks=[pb.AttemptRef(job_id=ATTEMPT.job_id, attempt=ATTEMPT.attempt)])
        )
        acknowledgement = await link.receive()

    assert servicer.heard[0].hello.executor_id == "e"
    assert servicer.heard[0].credit.free_slots == 3
    assert welcome.welcome is not None
    assert acknowledgement.acknowledged == [ATTEMPT]


async def test_leaving_the_stream_ends_it_for_the_scheduler(
    connection: SchedulerConnection, servicer: Servicer
) -> None:
    async with connection.dial(0) as link:
        await link.send(Uplink(hello=HELLO))
        await link.receive()

    await servicer.ended.wait()


async def test_a_stream_that_the_scheduler_ends_says_why(connection: SchedulerConnection, servicer: Servicer) -> None:
    async with connection.dial(0) as link:
        await link.send(Uplink(hello=HELLO))
        await link.receive()
        servicer.to_say.put_nowait(None)

        with pytest.raises(LinkBroken, match=r"UNAVAILABLE: The scheduler is stopping\."):
            await link.receive()
        with pytest.raises(LinkBroken):
            await link.send(Uplink(credit=Credit(1, 0)))


async def test_a_scheduler_that_is_not_there_breaks_the_link_at_once() -> None:
    connection = SchedulerConnection(Addresses(["127.0.0.1:9"]), Access())

    async with connection.dial(0) as link:
        with pytest.raises(LinkBroken, match="UNAVAILABLE"):
            await link.send(Uplink(hello=HELLO))


async def test_a_scheduler_that_comes_back_is_connected_by_the_next_dial(servicer: Servicer) -> None:
    address: str = servicer.address  # type: ignore[attr-defined]
    connection = SchedulerConnection(Addresses(["127.0.0.1:9", address]), Access())
    for turn, expected in ((0, False), (1, True), (2, False), (3, True)):
        assert await _connects(connection, turn) is expected


async def _connects(connection: SchedulerConnection, turn: int) -> bool:
    try:
        async with connection.dial(turn) as link:
            await link.send(Uplink(hello=HELLO))
            return (await link.receive()).welcome is not None
    except LinkBroken:
        return False


async def on_a_stream(connection: SchedulerConnection, action: Callable[[], Awaitable[bytes]]) -> bytes:
    async with connection.dial(0) as link:
        await link.send(Uplink(hello=HELLO))
        await link.receive()
        return await action()


async def test_an_image_comes_over_the_streams_connection(connection: SchedulerConnection) -> None:
    sha256 = hashlib.sha256(IMAGE).hexdigest()

    assert await on_a_stream(connection, lambda: connection.fetch(sha256, ATTEMPT.job_id)) == IMAGE


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.NOT_FOUND, ImageUnavailable),
        (grpc.StatusCode.PERMISSION_DENIED, ImageUnavailable),
        (grpc.StatusCode.UNAVAILABLE, ImageSourceAway),
        (grpc.StatusCode.UNAUTHENTICATED, ImageSourceAway),
        (grpc.StatusCode.INTERNAL, ImageSourceAway),
    ],
)
async def test_a_refusal_is_told_from_an_outage(
    connection: SchedulerConnection, servicer: Servicer, code: grpc.StatusCode, error: type[Exception]
) -> None:
    servicer.fetch_error = code

    with pytest.raises(error):
        await on_a_stream(connection, lambda: connection.fetch("ab", ATTEMPT.job_id))


async def test_a_stream_that_ends_while_an_image_comes_leaves_its_fetcher_alive(
    connection: SchedulerConnection, servicer: Servicer
) -> None:
    servicer.fetching_takes = asyncio.Event()
    async with connection.dial(0) as link:
        await link.send(Uplink(hello=HELLO))
        await link.receive()
        fetching = asyncio.create_task(connection.fetch("ab", ATTEMPT.job_id))
        await servicer.fetch_began.wait()

    with pytest.raises(ImageSourceAway):
        await fetching


async def test_a_fetch_that_is_cancelled_stays_cancelled(connection: SchedulerConnection, servicer: Servicer) -> None:
    servicer.fetching_takes = asyncio.Event()
    async with connection.dial(0) as link:
        await link.send(Uplink(hello=HELLO))
        await link.receive()
        fetching = asyncio.create_task(connection.fetch("ab", ATTEMPT.job_id))
        await servicer.fetch_began.wait()
        fetching.cancel()

        with pytest.raises(asyncio.CancelledError):
            await fetching


async def test_without_a_stream_no_image_can_be_fetched(connection: SchedulerConnection) -> None:
    with pytest.raises(ImageSourceAway):
        await connection.fetch("ab", ATTEMPT.job_id)


async def test_a_list_of_addresses_is_dialled_in_turn() -> None:
    addresses = Addresses(["a:1", "b:2"])

    assert [await addresses.pick(turn) for turn in range(3)] == [
        Target("a:1", "a"),
        Target("b:2", "b"),
        Target("a:1", "a"),
    ]


async def test_a_dns_name_stands_for_its_addresses() -> None:
    addresses = Addresses(["dns:///localhost:50051", "b:2"])

    picked = {await addresses.pick(turn) for turn in range(4)}

    assert Target("b:2", "b") in picked
    resolved = picked - {Target("b:2", "b")}
    assert {target.address for target in resolved} <= {"ipv4:127.0.0.1:50051", "ipv6:[::1]:50051"}
    assert {target.host for target in resolved} == {"localhost"}
    assert len(picked) >= 2


async def test_a_name_that_leads_nowhere_is_passed_over_while_others_lead_somewhere() -> None:
    addresses = Addresses(["dns:///nowhere.invalid:50051", "a:1", "dns:///never..invalid:50051", "b:2"])

    assert [await addresses.pick(turn) for turn in range(3)] == [
        Target("a:1", "a"),
        Target("b:2", "b"),
        Target("a:1", "a"),
    ]


async def test_names_that_all_lead_nowhere_break_the_link() -> None:
    addresses = Addresses(["dns:///nowhere.invalid:50051", "dns:///never..invalid:50051"])
    connection = SchedulerConnection(addresses, Access())

    with pytest.raises(LinkBroken, match=r"nowhere\.invalid.* never\.\.invalid"):
        async with connection.dial(0):
            pass
