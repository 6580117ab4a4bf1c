import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.public_addresses import is_public, literal


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "224.0.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::8.8.8.8",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2001:db8::1",
        "2002:a00:1::1",
        # Teredo: the address of the client is inverted.
        "2001:0:808:808::f5ff:fffe",
        "fc00::1",
        "fe80::1",
        "fe80::1%1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
    ],
)
def test_an_address_of_elsewhere_is_not(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_every_form_that_leads_to_it(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    forms = [
        ipaddress.IPv6Address(f"::ffff:{address}"),
        ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) + number),
    ]

    assert [is_public(form) for form in forms] == [is_public(address)] * 2


@given(st.ip_addresses(v=4))
def test_no_tunnel_is_public_wherever_it_leads(address: ipaddress.IPv4Address) -> None:
    assert not is_public(ipaddress.IPv6Address((0x2002 << 112) + (int(address) << 80)))
    assert not is_public(ipaddress.IPv6Address((0x2001_0000 << 96) + int(address)))


@given(st.ip_addresses())
def test_every_address_can_be_judged(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert not is_public(address) or not (address.is_private or address.is_loopback or address.is_link_local)


@pytest.mark.parametrize("host", ["localhost", "images.example", "1.example", "x1", "10.0.0.1.nip.example", ""])
def test_a_name_is_no_address(host: str) -> None:
    assert literal(host) is None


def test_an_address_in_its_usual_form_is_read() -> None:
    assert literal("10.0.0.1") == ipaddress.IPv4Address("10.0.0.1")
    assert literal("::1") == ipaddress.IPv6Address("::1")


@pytest.mark.parametrize("host", ["127.1", "1", "0x7f000001", "0x", "0177.0.0.1", "10.0.0.1.", "1.2.3.4.5", "::g"])
def test_an_address_in_an_odd_form_is_refused(host: str) -> None:
    with pytest.raises(ValueError):
        literal(host)
