"""Strings that say that they are made up, in the room and the format that a schema leaves them."""

import datetime
from collections.abc import Callable, Mapping
from typing import Any

_MAX_LENGTH = 100_000
_FILLING = " emulated"
_EPOCH = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
_SECONDS_OF_30_YEARS = 30 * 365 * 86_400


def text(schema: Mapping[str, Any], wordings: tuple[str, ...]) -> str | None:
    """Return the first wording that is short enough, filled up to the shortest allowed length; None if none can be.

    The last one is cut if need be: it should be all mark and no words.
    """
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength", _MAX_LENGTH)
    if shortest > min(longest, _MAX_LENGTH):
        return None
    chosen = next((wording for wording in wordings if len(wording) <= longest), wordings[-1][:longest])
    missing = shortest - len(chosen)
    return chosen + (_FILLING * (missing // len(_FILLING) + 1))[:missing] if missing > 0 else chosen


def formatted(name: str, number: int) -> str | None:
    """Return a string of a format of JSON Schema, another one for another number; None if the format is not known.

    Args:
        name: The format.
        number: Not negative; of 64 bits, all are used where there is room.
    """
    writer = _WRITERS.get(name)
    return writer(number) if writer else None


def _moment(number: int) -> datetime.datetime:
    return _EPOCH + datetime.timedelta(seconds=number % _SECONDS_OF_30_YEARS)


def _date(number: int) -> str:
    return _moment(number).date().isoformat()


def _date_time(number: int) -> str:
    return _moment(number).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(number: int) -> str:
    return f"{_moment(number):%H:%M:%S}.{number // _SECONDS_OF_30_YEARS % 1000:03}Z"


def _duration(number: int) -> str:
    minutes, seconds = divmod(number % 86_400_000, 60)
    return f"PT{minutes // 60}H{minutes % 60}M{seconds}S"


def _email(number: int) -> str:
    return f"emulated-{number:016x}@example.com"


def _hostname(number: int) -> str:
    return f"emulated-{number:016x}.example.com"


def _uri(number: int) -> str:
    return f"https://example.com/emulated/{number:016x}"


def _uuid(number: int) -> str:
    digits = f"{number:016x}"
    # Version 8 of RFC 9562: bits of the maker's own choice.
    return f"00000000-{digits[:4]}-8{digits[4:7]}-8{digits[7:10]}-000000{digits[10:]}"


def _ipv4(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def _ipv6(number: int) -> str:
    return f"2001:db8::{number >> 32 & 0xFFFF:x}:{number >> 16 & 0xFFFF:x}:{number & 0xFFFF:x}"


_WRITERS: Mapping[str, Callable[[int], str]] = {
    "date": _date,
    "date-time": _date_time,
    "time": _time,
    "duration": _duration,
    "email": _email,
    "hostname": _hostname,
    "uri": _uri,
    "uuid": _uuid,
    "ipv4": _ipv4,
    "ipv6": _ipv6,
}
