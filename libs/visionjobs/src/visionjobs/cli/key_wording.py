"""What people are told about keys, changes and purges, without colour or layout."""

from collections.abc import Iterator
from datetime import datetime

from visionjobs.cli.wording import clock_time, one_line
from visionjobs.keys import AuditEntry, Key, Purged, Role


def state(key: Key, present: datetime) -> str:
    """Return whether the key works, and until when its old secret does."""
    return ", ".join(words for words in (validity(key), times(key, present)) if words)


def validity(key: Key) -> str:
    """Return whether the key works, in one word."""
    return "revoked" if key.revoke_time else "works"


def times(key: Key, present: datetime) -> str:
    """Return since when the key is revoked, or until when its old secret works; mostly nothing."""
    if key.revoke_time:
        return f"since {_minute_or_day(key.revoke_time, present)}"
    if key.old_secret_expire_time and key.old_secret_expire_time > present:
        return f"old secret until {clock_time(key.old_secret_expire_time, present)}"
    return ""


def limits(key: Key) -> str:
    """Return the limits that the key has of its own; for the others the scheduler's settings hold."""
    return ", ".join(_limits(key))


def _limits(key: Key) -> Iterator[str]:
    if key.max_priority > 1:
        yield "priority 2 or 3" if key.max_priority == 2 else "priority 3"
    if key.submissions_per_second:
        yield f"{key.submissions_per_second:,.10g} jobs/s"
    if key.max_queued_jobs:
        yield f"{key.max_queued_jobs:,} in the queue"


def created(key: Key) -> str:
    """Return the day on which the key was made."""
    return f"{key.create_time.astimezone():%Y-%m-%d}" if key.create_time else ""


def last_used(key: Key, present: datetime) -> str:
    """Return the minute of the last use, or its day if that is not today."""
    return "never" if key.last_used_time is None else _minute_or_day(key.last_used_time, present)


def _minute_or_day(time: datetime, present: datetime) -> str:
    local = time.astimezone()
    return f"{local:%H:%M}" if local.date() == present.astimezone().date() else f"{local:%Y-%m-%d}"


def whose(key: Key) -> str:
    """Return what the key is for, in a few words."""
    return one_line(f"{key.role.lower()} key {key.key_id} of {key.client_id}")


def keeping(key: Key) -> str:
    """Return where a secret belongs."""
    variable = "EXECUTOR_API_KEY_FILE" if key.role is Role.EXECUTOR else "VISIONJOBS_API_KEY_FILE"
    return f"It is shown only now; keep it in the file that {variable} names."


def author(entry: AuditEntry) -> str:
    """Return who made the change."""
    return one_line(f"{entry.client_id} ({entry.key_id})" if entry.key_id else entry.client_id)


def call(entry: AuditEntry) -> str:
    """Return the name of the call or command, without that of its service."""
    return one_line(entry.method.rpartition("/")[2])


def outcome(entry: AuditEntry) -> str:
    """Return how the change ended."""
    return one_line(entry.outcome) or "unfinished"


def purge(purged: Purged, user_id: str) -> str:
    """Return what was removed, in one sentence or three."""
    jobs, images, results = (
        _count(purged.jobs, "prompt"),
        _count(purged.images, "image"),
        _count(purged.results, "result"),
    )
    sentences = [f"{jobs}, {images} and {results} of {user_id} are gone for good."]
    if purged.cancelled_jobs:
        sentences.append(f"{_count(purged.cancelled_jobs, 'unfinished job')} {_was(purged.cancelled_jobs)} cancelled.")
    if purged.kept_images:
        stays = "stays" if purged.kept_images == 1 else "stay"
        sentences.append(
            f"{_count(purged.kept_images, 'image')} {stays} until unfinished jobs of other users are done with "
            f"{'it' if purged.kept_images == 1 else 'them'}."
        )
    return one_line(" ".join(sentences))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _was(number: int) -> str:
    return "was" if number == 1 else "were"
