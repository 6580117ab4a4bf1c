"""Which addresses are on the public internet: what is fetched for a caller is fetched from nowhere else."""

import ipaddress
import re

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# IPv4 in the last 32 bits; no host has such an address today.
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_ENDS_IN_NUMBER = re.compile(r"(?:^|\.)(?:\d+|0[xX][0-9a-fA-F]*)\.?$")


def is_public(address: Address) -> bool:
    """Say whether an address is one host's on the public internet, and so is the IPv4 address that it stands for."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _inner(address)
        if inner is not None:
            return is_public(inner)
        # 6to4 and Teredo lead through tunnels of others to wherever they like; nobody serves images there.
        is_tunnelled = address.sixtofour is not None or address.teredo is not None
        if is_tunnelled or address in _COMPATIBLE or address.scope_id is not None or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def literal(host: str) -> Address | None:
    """Return the address that a host of a URL is; None for a name.

    Raises:
        ValueError: It is an address in a form that readers of it disagree on, such as 127.1 or 0x7f000001.
    """
    if ":" in host:
        return ipaddress.IPv6Address(host)
    if _ENDS_IN_NUMBER.search(host):
        return ipaddress.IPv4Address(host)
    return None


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that packets for this one go to."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped
