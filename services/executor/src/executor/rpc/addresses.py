"""Which scheduler's turn it is: one of a list, or one of the addresses that a dns:/// name stands for at the moment."""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from executor.ports import LinkBroken
from runtime.addresses import host_of

_DNS = "dns:///"
_RESOLVE_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class Target:
    """Where to dial, and the host that was configured, which is who must answer there."""

    address: str
    host: str


@dataclass(frozen=True, slots=True)
class _Resolved:
    """What an address stands for; why for nothing."""

    targets: Sequence[Target]
    problem: str = ""


class Addresses:
    """The configured addresses; names are looked up at every turn, so that new schedulers are found."""

    def __init__(self, configured: Sequence[str]) -> None:
        self._configured = configured

    async def pick(self, turn: int) -> Target:
        """Return a target. Names that lead nowhere are passed over; raises LinkBroken if nothing is left."""
        async with asyncio.TaskGroup() as tasks:
            # All at once: names that cannot be looked up cost their time once, whatever their number.
            lookups = [tasks.create_task(_resolve(address)) for address in self._configured]
        resolved = [lookup.result() for lookup in lookups]
        targets = [target for each in resolved for target in each.targets]
        if not targets:
            raise LinkBroken(" ".join(each.problem for each in resolved))
        return targets[turn % len(targets)]


async def _resolve(address: str) -> _Resolved:
    if not address.startswith(_DNS):
        return _Resolved([Target(address, host_of(address))])
    name = address.removeprefix(_DNS)
    host, _, port = name.rpartition(":")
    try:
        async with asyncio.timeout(_RESOLVE_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        return _Resolved([], f"{name} was not resolved within {_RESOLVE_SECONDS:g} s.")
    except (OSError, UnicodeError) as error:
        # UnicodeError: a name that no lookup takes, as one with an empty part.
        return _Resolved([], f"{name} cannot be resolved: {error}.")
    # In an order that does not change from turn to turn.
    addresses = sorted({_address(family, address[:2]) for family, _, _, _, address in found})
    return _Resolved([Target(each, host) for each in addresses])


def _address(family: int, address: tuple[object, ...]) -> str:
    host, port = address
    return f"ipv6:[{host}]:{port}" if family == socket.AF_INET6 else f"ipv4:{host}:{port}"
