"""Turns what is typed into values, and refuses what cannot be meant."""

import re
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Self

import typer

from visionjobs.cli.clock import now
from visionjobs.jobs import Image


def image(text: str) -> Image:
    """Return the image that a path, an https address or `sha256:HEX` names."""
    if text.startswith("sha256:"):
        return Image(sha256=text.removeprefix("sha256:"))
    if text.lower().startswith("https://"):
        return Image.from_uri(text)
    if text.lower().startswith("http://"):
        raise typer.BadParameter("Only https addresses are fetched.")
    try:
        return Image.from_file(text)
    except OSError as error:
        raise typer.BadParameter(f"{text}: {error.strerror}.") from None


def text_or_file(text: str) -> str:
    """Return the text itself, what `@FILE` holds, or what comes in for `@-`."""
    return content_of(text[1:]) if text.startswith("@") else text


def content_of(name: str) -> str:
    """Return the text of a file, or of the standard input for `-`."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode()
    except OSError as error:
        raise typer.BadParameter(f"{name}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{name} is not UTF-8 text.") from None


@dataclass(frozen=True, slots=True)
class Label:
    """One label of a job."""

    name: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the two sides of `name=value`."""
        name, sign, value = text.partition("=")
        if not (name and sign):
            raise typer.BadParameter(f"{text!r} is not of the form name=value.")
        return cls(name, value)


def duration(text: str) -> timedelta:
    """Return the span of `90`, `90s`, `5m`, `1h30m`, `1.5h` or `2d`; a bare number is in seconds."""
    parts = re.fullmatch(r"(?:([\d.]+)d)?(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s?)?", text.strip())
    try:
        if parts is None or not any(parts.groups()):
            raise ValueError
        days, hours, minutes, seconds = (float(part or 0) for part in parts.groups())
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is not a duration such as 90s, 5m or 1h30m.") from None


def time(text: str) -> datetime:
    """Return the time that `time_from` finds now."""
    return time_from(text, now())


def time_from(text: str, present: datetime) -> datetime:
    """Return the time of ISO 8601 text, local if it names no offset, or of a span after or before now: `+10m`, `-2h`."""
    try:
        match text.strip()[:1]:
            case "+":
                return present + duration(text.strip()[1:])
            case "-":
                return present - duration(text.strip()[1:])
            case _:
                return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError, typer.BadParameter):
        raise typer.BadParameter(
            f"{text!r} is not a time such as 2030-01-31T08:00, 2030-01-31T08:00Z, +10m or -2h."
        ) from None


def day(text: str) -> date:
    """Return the day that `day_from` finds now."""
    return day_from(text, now())


def day_from(text: str, present: datetime) -> date:
    """Return the day of ISO 8601 text, or of a span before now, in UTC: `-7d`."""
    try:
        if text.strip().startswith("-"):
            return (present - duration(text.strip()[1:])).astimezone(UTC).date()
        return date.fromisoformat(text.strip())
    except (ValueError, OverflowError, typer.BadParameter):
        raise typer.BadParameter(f"{text!r} is not a day such as 2030-01-31 or -7d.") from None
