"""Which IP addresses may be connected to: those of the public internet, and networks that the operator has named.

Not `ipaddress.is_global` alone: it takes NAT64 and 6to4 addresses for global, whatever IPv4 address is in them, and the
lists of early Python 3.11 lack newer ranges (CVE-2024-4032).
"""

import ipaddress
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# From the IANA registries of special-purpose addresses, besides what `is_global` knows everywhere.
_NOT_PUBLIC_V4 = (
    "0.0.0.0/8",
    "100.64.0.0/10",
    "192.0.0.0/24",
    # The anycast relay of 6to4, withdrawn.
    "192.88.99.0/24",
    "198.18.0.0/15",
    "224.0.0.0/3",
)
_NOT_PUBLIC_V6 = (
    # IETF protocol assignments: Teredo among them, whose inner address is that of a client behind a NAT.
    "2001::/23",
    "2001:db8::/32",
    # 6to4: routed by whoever announces it, to the IPv4 address inside.
    "2002::/16",
    "3fff::/20",
)
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class AddressJudge:
    """Decides about addresses, never about names."""

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        """Allow networks that are not public, too."""
        self._allowed = tuple(allowed)
        self._refused = tuple(ipaddress.ip_network(network) for network in (*_NOT_PUBLIC_V4, *_NOT_PUBLIC_V6))

    def allows(self, text: str) -> bool:
        """Return whether to connect to this address; to what is none, never."""
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        # A scope names a link of this machine's.
        if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
            return False
        meant = _inner(address)
        return any(meant in network for network in self._allowed) or self._is_public(meant)

    def _is_public(self, address: Address) -> bool:
        if any(address in network for network in self._refused):
            return False
        if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
            return False
        return address.is_global and not address.is_multicast and not address.is_reserved


def _inner(address: Address) -> Address:
    """Return the IPv4 address that packets to an IPv6 one go to in the end, if that can be told."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address
