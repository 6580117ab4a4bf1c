"""What time it is for the person at the command line."""

from datetime import datetime


def now() -> datetime:
    """Return the local time with its offset from UTC."""
    return datetime.now().astimezone()  # noqa: TID251 - a command has no clock to take; aware at once
