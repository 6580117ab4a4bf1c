"""What an address stands for: one that a scheduler can have, on this machine or beyond it."""

import ipaddress
import re

# Targets that name their resolver; what follows is the resolver's business.
_TARGET = r"(ipv4|ipv6|unix|unix-abstract|vsock|xds|google-c2p):.+"
_HOST_AND_PORT = r"(dns:(//[^/]*/)?)?(\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]|[\w-]+(\.[\w-]+)*\.?):(?P<port>\d{1,5})"


def check(address: str) -> None:
    """Raise ValueError if no scheduler can have this address. gRPC would report one that is away for the moment."""
    parts = re.fullmatch(_HOST_AND_PORT, address, re.ASCII)
    if not (re.fullmatch(_TARGET, address) or (parts and 0 < int(parts["port"]) < 65536)):
        raise ValueError(f"{address!r} is not an address of the form HOST:PORT, such as 127.0.0.1:50051.")


def is_loopback(address: str) -> bool:
    """Return whether what is sent to this address stays on this machine.

    A name counts only if it is `localhost`, and only for this machine's own resolver: what others stand for may change.
    """
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    if address.startswith(("ipv4:", "ipv6:")):
        return all(_is_loopback_host(each) for each in address.partition(":")[2].split(","))
    return _is_loopback_host(address.removeprefix("dns:").removeprefix("///"))


def _is_loopback_host(host_and_port: str) -> bool:
    host = host_and_port.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
