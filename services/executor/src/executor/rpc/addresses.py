"""Which scheduler's turn it is: one of a list, or one of the addresses that a dns:/// name stands for at the moment."""

import asyncio
import socket
from collections.abc import Sequence

from executor.ports import LinkBroken

_DNS = "dns:///"
_RESOLVE_SECONDS = 1.5


class Addresses:
    """The configured addresses; names are looked up at every turn, so that new schedulers are found."""

    def __init__(self, configured: Sequence[str]) -> None:
        self._configured = configured

    async def pick(self, turn: int) -> str:
        """Return a gRPC target. Raises LinkBroken if a name leads nowhere."""
        targets: list[str] = []
        for address in self._configured:
            targets += await _resolve(address.removeprefix(_DNS)) if address.startswith(_DNS) else [address]
        return targets[turn % len(targets)]


async def _resolve(name: str) -> list[str]:
    host, _, port = name.rpartition(":")
    try:
        async with asyncio.timeout(_RESOLVE_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise LinkBroken(f"{name} was not resolved within {_RESOLVE_SECONDS:g} s.") from None
    except OSError as error:
        raise LinkBroken(f"{name} cannot be resolved: {error}") from None
    # In an order that does not change from turn to turn.
    return sorted({_target(family, address[:2]) for family, _, _, _, address in found})


def _target(family: int, address: tuple[object, ...]) -> str:
    host, port = address
    return f"ipv6:[{host}]:{port}" if family == socket.AF_INET6 else f"ipv4:{host}:{port}"
