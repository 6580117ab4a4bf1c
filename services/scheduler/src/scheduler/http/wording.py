"""What a page says about a job, in words."""

import datetime
from collections.abc import Mapping

import msgspec

from scheduler.jobs import Attempt, ImageRef, Job, JobState, Stage, Usage

_STAGES = {
    Stage.STARTING: "starting",
    Stage.FETCHING_IMAGE: "fetching the image",
    Stage.WAITING_FOR_PERMIT: "waiting for a permit to call",
    Stage.GEMINI_ANALYZING: "Gemini is analyzing",
    Stage.DEEPSEEK_ANALYZING: "DeepSeek is analyzing",
    Stage.VALIDATING: "validating the answer",
}

_STATES = {
    JobState.SCHEDULED: "waits for its time",
    JobState.QUEUED: "waits for an executor",
    JobState.RUNNING: "is with an executor",
    JobState.SUCCEEDED: "ended with a result",
    JobState.FAILED: "ended with an error",
    JobState.CANCELLED: "was cancelled",
    JobState.EXPIRED: "could not start before its expiry",
}

_PRIORITIES = {1: "high", 2: "normal", 3: "low"}

_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def stage(value: Stage) -> str:
    """Return what a running attempt is doing."""
    return _STAGES[value]


def state(value: JobState) -> str:
    """Return where a job is in its life; goes on after "It"."""
    return _STATES[value]


def priority(value: int) -> str:
    return f"{value} ({_PRIORITIES[value]})" if value in _PRIORITIES else str(value)


def reason(value: str) -> str:
    """Return an UPPER_SNAKE word as people write it."""
    return value.replace("_", " ").lower()


def utc(moment: datetime.datetime) -> str:
    return f"{moment.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


def distance(moment: datetime.datetime, now: datetime.datetime) -> str:
    """Return how far away a moment is, such as "3 minutes ago" or "in 2 hours"."""
    seconds = round((now - moment).total_seconds())
    for size, unit in _UNITS:
        count = abs(seconds) // size
        if count:
            words = f"{count} {unit}{'s' if count > 1 else ''}"
            return f"{words} ago" if seconds > 0 else f"in {words}"
    return "now"


def span(seconds: float) -> str:
    """Return a duration such as 85 ms, 4.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s".replace(".0 ", " ")
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def dollars(amount: float) -> str:
    """Return US dollars to a hundredth of a cent."""
    return "<$0.0001" if 0 < amount < 0.00005 else f"${amount:.4f}"


def bill(job: Job) -> str:
    """Return what a job cost so far; "" for one that never got as far."""
    if job.result is not None and job.result.cached:
        return "nothing: an identical job's answer was used"
    words = [dollars(job.cost_usd)] if job.cost_usd or job.result is not None or job.attempts else []
    if unknown := sum(attempt.unanswered for attempt in job.attempts):
        words.append(f"{unknown} call{'s were' if unknown > 1 else ' was'} never answered and may have been billed")
    return "; ".join(words)


def attempt_bill(attempt: Attempt) -> str:
    """Return what an attempt cost, as far as that is known."""
    if attempt.unanswered:
        return "unknown: the call was sent and never answered, and may have been billed"
    return dollars(attempt.cost_usd)


def picture(image: ImageRef) -> str:
    """Return which image it is. What follows the path of an address is not for pages: it may be a signature."""
    return f"{image.mime_type} {image.shown_uri if image.uri else f'sha256:{image.sha256}'}".strip()


def tokens(usage: Usage) -> str:
    parts = [f"{usage.input_tokens:,} in", f"{usage.output_tokens:,} out"]
    parts += [f"{usage.image_tokens:,} of the input for images"] if usage.image_tokens else []
    parts += [f"{usage.cached_tokens:,} of it cached"] if usage.cached_tokens else []
    parts += [f"{usage.thinking_tokens:,} thinking"] if usage.thinking_tokens else []
    return ", ".join(parts)


def stages(seconds: Mapping[Stage, float]) -> str:
    return ", ".join(f"{stage(each)} {span(spent)}" for each, spent in seconds.items())


def indented(text: str) -> str:
    """Return JSON with a line for each value, and what is none as it is."""
    try:
        return msgspec.json.format(text, indent=2)
    except (msgspec.MsgspecError, RecursionError):
        return text


def is_emulated(model_version: str) -> bool:
    """Say whether the emulator made an answer up, and no model saw the image."""
    return "emulator" in model_version.lower()
