"""What people are told about a job, without colour or layout."""

import json
import re
import unicodedata
from collections.abc import Iterator
from datetime import datetime, timedelta

from visionjobs.cli.clock import now
from visionjobs.jobs import Attempt, CachePolicy, Image, Job, JobStage, JobState, Result, Wait, WaitReason


def printable(text: str) -> str:
    """Return the text without what a terminal would obey: models and errors may quote anything."""
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in {"Cc", "Cf", "Cs"} else "\ufffd" for char in text
    )


def one_line(text: str) -> str:
    """Return the text in one printable line."""
    return printable(" ".join(text.split()))


def note(job: Job) -> str:
    """Return where the job stands, in one line."""
    if job.state is JobState.SUCCEEDED and job.result is not None:
        return " · ".join(_achievement(job, job.result))
    if job.error is not None:
        return one_line(f"{job.error.kind}: {job.error.message}")
    if job.state is JobState.RUNNING:
        again = f", attempt {job.attempt}" if job.attempt > 1 else ""
        return _stage(job.stage) + again
    if job.wait is not None:
        return waiting(job.wait, now())
    return ""


def waiting(wait: Wait, present: datetime) -> str:
    """Return why a job waits, in one line that begins with what matters most."""
    reason = "waiting" if wait.reason is WaitReason.UNKNOWN else wait.reason.replace("_", " ").lower()
    until = f" until {clock_time(wait.until_time, present)}" if wait.until_time else ""
    message = f": {wait.message}" if wait.message else ""
    return one_line(f"{reason}{until}{message}")


def clock_time(time: datetime, present: datetime) -> str:
    """Return local time, with its date if that is not today's."""
    local = time.astimezone()
    today = local.date() == present.astimezone().date()
    return f"{local:%H:%M:%S}" if today else f"{local:%Y-%m-%d %H:%M:%S}"


def acceptance(job: Job) -> str:
    """Return where a job stands that was just accepted, in one line."""
    again = f"retry of {one_line(job.retried_from)}" if job.retried_from else ""
    return " · ".join(words for words in (again, note(job)) if words)


def _achievement(job: Job, result: Result) -> Iterator[str]:
    if result.emulated:
        yield "EMULATED"
    if job.create_time and job.finish_time:
        yield span(job.finish_time - job.create_time)
    yield "answered from the cache" if result.cached else cost(result.cost_usd)
    yield one_line(result.model_version)


def emulation(result: Result) -> str:
    """Return the warning that belongs to an answer of the emulator."""
    return f"This answer is EMULATED: {one_line(result.model_version)} made it up, no model has seen the image."


def _stage(stage: JobStage | None) -> str:
    words = {
        JobStage.FETCHING_IMAGE: "fetching the image",
        JobStage.WAITING_FOR_PERMIT: "waiting for a permit",
        JobStage.GEMINI_ANALYZING: "Gemini is analyzing",
        JobStage.DEEPSEEK_ANALYZING: "DeepSeek is analyzing",
        JobStage.VALIDATING: "validating the answer",
        JobStage.UNKNOWN: "working",
    }
    return "starting" if stage is None else words.get(stage, "starting")


def facts(job: Job) -> Iterator[tuple[str, str]]:
    """Yield what is known about the job as names and values, the important first."""
    spec = job.spec
    known = {
        "Job": job.job_id,
        "State": job.state,
        "": note(job),
        "User": spec.user_id,
        "Model": spec.model,
        "Second step": spec.post_process.model if spec.post_process else "",
        "Priority": {1: "1 (high)", 2: "2 (normal)", 3: "3 (low)"}.get(spec.priority, ""),
        "Labels": ", ".join(f"{name}={value}" for name, value in spec.labels.items()),
        "Images": ", ".join(_image(image) for image in spec.images),
        "Prompt": _shortened(spec.prompt),
        "Retry of": job.retried_from,
        "Content": "removed for good" if job.purged else "",
        "Cache": spec.cache.lower() if spec.cache is not CachePolicy.USE else "",
        "Not before": moment(spec.schedule_time),
        "Expires": moment(spec.expire_time),
        "Created": moment(job.create_time),
        "Started": moment(job.start_time),
        "Finished": moment(job.finish_time),
        "Next attempt": moment(job.next_attempt_time) if not job.state.is_final else "",
        "Retries": str(job.retry_count or ""),
        "Cost": _total(job),
        "Tokens": _tokens(job.result) if job.result else "",
        "Time": _stages(job.result) if job.result else "",
        "Executor": job.executor_id,
        "Trace": job.trace_id,
    }
    for name, value in known.items():
        if value:
            yield name, one_line(value)


def attempts(job: Job) -> Iterator[tuple[str, str]]:
    """Yield each attempt as a name and a line of what became of it."""
    has_steps = job.spec.post_process is not None or any(attempt.step > 1 for attempt in job.attempts)
    for attempt in job.attempts:
        name = f"Attempt {attempt.attempt}"
        yield f"{name}, step {attempt.step}" if has_steps else name, _attempt_line(attempt)


def _attempt_line(attempt: Attempt) -> str:
    took = span(attempt.finish_time - attempt.start_time) if attempt.start_time and attempt.finish_time else ""
    error = f"{attempt.error.kind}: {attempt.error.message}" if attempt.error else ""
    words = [
        attempt.outcome,
        took,
        f"on {attempt.executor_id}" if attempt.executor_id else "",
        _attempt_cost(attempt),
        f"{attempt.service_tier.lower()} tier" if attempt.service_tier else "",
        _flaw(attempt),
        error,
    ]
    return one_line(" · ".join(word for word in words if word))


def _image(image: Image) -> str:
    # What follows the path may be a signature, and terminals are looked at over shoulders.
    which = re.split(r"[?#]", image.uri, maxsplit=1)[0] if image.uri else f"sha256:{image.sha256}"
    return f"{which} {image.mime_type}".rstrip()


def _total(job: Job) -> str:
    """Return what a job cost so far; its note says it of one that succeeded."""
    return cost(job.cost_usd) if job.cost_usd and job.state is not JobState.SUCCEEDED else ""


def _attempt_cost(attempt: Attempt) -> str:
    if attempt.unanswered:
        return "never answered, may have been billed"
    return cost(attempt.cost_usd) if attempt.cost_usd else ""


def _flaw(attempt: Attempt) -> str:
    if not attempt.flaw:
        return ""
    where = f" at {attempt.output_path}" if attempt.output_path else ""
    return attempt.flaw.replace("_", " ").lower() + where


def _tokens(result: Result) -> str:
    usage = result.usage
    return (
        f"{usage.input_tokens:,} in ({usage.image_tokens:,} for images, {usage.cached_tokens:,} cached), "
        f"{usage.output_tokens:,} out, {usage.thinking_tokens:,} thinking"
    )


def _stages(result: Result) -> str:
    return ", ".join(f"{_stage(each.stage)} {span(each.duration)}" for each in result.stage_durations)


def _shortened(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}… ({len(text):,} characters)"


def output_text(result: Result) -> str:
    """Return the JSON that the job gave, indented."""
    return printable(json.dumps(result.output, indent=2, ensure_ascii=False))


def moment(time: datetime | None) -> str:
    """Return local time with its offset from UTC, empty for none."""
    return "" if time is None else time.astimezone().isoformat(sep=" ", timespec="seconds")


def span(duration: timedelta) -> str:
    """Return a span as people say it, such as 85 ms, 4.2 s, 3 min 20 s."""
    seconds = duration.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s".replace(".0 ", " ")
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def cost(dollars: float) -> str:
    """Return US dollars to a hundredth of a cent."""
    return "<$0.0001" if 0 < dollars < 0.00005 else f"${dollars:.4f}"
