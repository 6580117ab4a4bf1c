"""Which IP addresses images are fetched from."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.uris.addresses import AddressJudge

PUBLIC = [
    "8.8.8.8",
    "93.184.215.14",
    "2606:4700:4700::1111",
    "2a00:1450:4001:82a::200e",
    "::ffff:8.8.8.8",
    # NAT64, as a network without IPv4 has it.
    "64:ff9b::8.8.8.8",
]
NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "4000::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fe80::1%2",
    "2606:4700:4700::1111%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_the_public_internet_is_open(address: str) -> None:
    assert AddressJudge().allows(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_everything_else_is_closed(address: str) -> None:
    assert not AddressJudge().allows(address)


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "2130706433", "0x7f.1", "8.8.8.8:443", "1.2.3.4/8"])
def test_what_is_no_address_is_closed(text: str) -> None:
    assert not AddressJudge().allows(text)


def test_named_networks_are_open_in_whatever_form_their_addresses_come() -> None:
    judge = AddressJudge([ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/8")])

    assert [judge.allows(address) for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd12::1")] == [
        True
    ] * 4
    assert not judge.allows("10.2.0.1")
    assert not judge.allows("fe80::1")


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_within_an_ipv6_one_is_judged_as_itself(address: ipaddress.IPv4Address) -> None:
    judge = AddressJudge()

    for form in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert judge.allows(form) == judge.allows(str(address))


@given(st.ip_addresses())
def test_what_is_open_is_global(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if AddressJudge().allows(str(address)) and address.version == 4:
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=6))
def test_ipv6_is_open_only_where_unicast_addresses_are_given_out(address: ipaddress.IPv6Address) -> None:
    carries_ipv4 = address.ipv4_mapped is not None or address in ipaddress.ip_network("64:ff9b::/96")

    if AddressJudge().allows(str(address)) and not carries_ipv4:
        assert address in ipaddress.ip_network("2000::/3")
