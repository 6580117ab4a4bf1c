"""What a `host:port` stands for: this machine alone, or a door to others."""

import ipaddress

_SCHEMES = ("dns:///", "dns:", "ipv4:", "ipv6:")
_EVERYWHERE_V4 = ("", "0.0.0.0")  # noqa: S104 - compared with, not bound to
_EVERYWHERE_V6 = "::"


def host_of(address: str) -> str:
    """Return the host of a `host:port`, of a gRPC target too, without brackets."""
    for scheme in _SCHEMES:
        address = address.removeprefix(scheme)
    return address.rpartition(":")[0].removeprefix("[").removesuffix("]")


def is_loopback(address: str) -> bool:
    """Return whether nobody outside of this machine is reached, or can reach it, at this address.

    A name counts only if it is `localhost`: what others stand for may change.
    """
    if address.startswith("unix:"):
        return True
    host = host_of(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def reachable_from_here(bound: str) -> str:
    """Return where a program on this machine dials a server that is bound to this address."""
    if bound.startswith("unix:"):
        return bound
    host, port = host_of(bound), bound.rpartition(":")[2]
    if host in _EVERYWHERE_V4:
        return f"127.0.0.1:{port}"
    return f"[::1]:{port}" if host == _EVERYWHERE_V6 else bound
