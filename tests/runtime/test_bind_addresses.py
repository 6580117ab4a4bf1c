import pytest

from runtime.addresses import host_of, is_loopback, reachable_from_here


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:50051",
        "127.8.9.10:1",
        "localhost:50051",
        "LOCALHOST:1",
        "[::1]:50051",
        "::1:50051",
        "unix:/run/visionjobs.sock",
        "dns:///localhost:50051",
        "dns:localhost:50051",
        "ipv4:127.0.0.1:50051",
        "ipv6:[::1]:50051",
    ],
)
def test_addresses_of_this_machine_alone(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address",
    [
        ":50051",
        "0.0.0.0:50051",
        "[::]:50051",
        ":::50051",
        "10.0.0.7:50051",
        "scheduler:50051",
        "dns:///scheduler:50051",
        "localhost.example.org:50051",
        "127.0.0.1.example.org:50051",
    ],
)
def test_addresses_that_others_reach(address: str) -> None:
    assert not is_loopback(address)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("a.example:1", "a.example"),
        ("[::1]:5", "::1"),
        ("dns:///b:2", "b"),
        ("ipv6:[fe80::1]:3", "fe80::1"),
        (":4", ""),
    ],
)
def test_the_host_of_an_address(address: str, host: str) -> None:
    assert host_of(address) == host


@pytest.mark.parametrize(
    ("bound", "dialled"),
    [
        ("0.0.0.0:50051", "127.0.0.1:50051"),
        (":50051", "127.0.0.1:50051"),
        ("[::]:50051", "[::1]:50051"),
        ("10.0.0.7:50051", "10.0.0.7:50051"),
        ("127.0.0.1:50051", "127.0.0.1:50051"),
        ("scheduler.example:50051", "scheduler.example:50051"),
        ("unix:/run/visionjobs.sock", "unix:/run/visionjobs.sock"),
    ],
)
def test_where_a_server_is_dialled_from_beside_it(bound: str, dialled: str) -> None:
    assert reachable_from_here(bound) == dialled
