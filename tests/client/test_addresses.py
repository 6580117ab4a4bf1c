import pytest

from visionjobs import AsyncClient, Client


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:50051",
        "localhost:1",
        "scheduler.visionjobs.svc.cluster.local.:65535",
        "my_host-2:50051",
        "[::1]:50051",
        "[fe80::1%eth0]:50051",
        "dns:///scheduler:50051",
        "dns:scheduler:50051",
        "dns://8.8.8.8/scheduler:50051",
        "ipv4:10.0.0.1:50051,10.0.0.2:50051",
        "ipv6:[::1]:50051",
        "unix:/run/scheduler.sock",
        "unix-abstract:scheduler",
    ],
)
async def test_an_address_or_a_grpc_target_is_taken(address: str) -> None:
    async with AsyncClient(address) as client:
        assert client.address == address


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:50051",
        "localhost",
        "::1",
        "[::1",
        "host:",
        "host:0",
        "host:65536",
        "a..b:1",
        "a b:1",
        "unix:",
        "dns:///a b:1",
        "dns:///host",
    ],
)
async def test_what_cannot_be_an_address_is_refused_at_once(address: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        AsyncClient(address)


def test_the_sync_client_refuses_it_too() -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        Client("http://127.0.0.1:50051")
