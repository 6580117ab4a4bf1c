"""What must be true of a history when it has come to rest."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator

from sim_provider import Call
from sim_world import Broken, World

from policies.ladder import MOST_RETRIES, Flaw
from scheduler.jobs import CachePolicy, Job, JobState, Usage
from scheduler.memory_row import JobRow

_ANNOUNCED_SECONDS = 2.0
_CHARGED = ("failed", "broke", "invalid", "truncated", "empty", "hung", "cancelled")
_UNBILLED = ("failed", "throttled", "refused")


def check(world: World) -> None:
    """Raise Broken for the first promise that was not kept."""
    for promise in (
        _no_accepted_job_is_lost,
        _every_attempt_has_one_end,
        _results_are_those_of_their_requests,
        _no_job_pays_more_often_than_it_may,
        _a_step_that_succeeded_is_never_begun_again,
        _no_flaw_is_met_more_often_than_the_ladder_says,
        _usage_is_the_sum_of_all_attempts,
        _nothing_is_accounted_for_that_the_providers_did_not_bill,
        _nobody_is_charged_for_what_the_provider_did_not_do,
        _a_key_pays_once_for_its_result,
        _limits_hold,
        _nothing_is_left_on_a_spool,
    ):
        for broken in promise(world):
            raise Broken(f"{promise.__name__.strip('_')}: {broken}")


def _jobs(world: World) -> dict[str, Job]:
    return {row.job.job_id: row.seen(attempts=True) for row in world.rows()}


def _no_accepted_job_is_lost(world: World) -> Iterator[str]:
    jobs = _jobs(world)
    for request_id, job_id in world.clients.accepted.items():
        if job_id not in jobs or not jobs[job_id].state.is_final:
            yield f"{request_id} was accepted as {job_id}"


def _every_attempt_has_one_end(world: World) -> Iterator[str]:
    for job in _jobs(world).values():
        numbers = [attempt.attempt for attempt in job.attempts]
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"{job.job_id} knows the ends of {numbers}"


def _results_are_those_of_their_requests(world: World) -> Iterator[str]:
    for job in _jobs(world).values():
        right = {"reworked": job.spec.prompt} if job.spec.post_process else {"echo": job.spec.prompt}
        if job.state is JobState.SUCCEEDED:
            if job.result is None or json.loads(job.result.output_json) != right:
                yield f"{job.job_id} has {job.result}"
        elif job.result is not None:
            yield f"{job.job_id} is {job.state.name} with a result"


def _no_job_pays_more_often_than_it_may(world: World) -> Iterator[str]:
    """Calls that may have been billed: those that ended without an error status. A key's jobs share their calls.

    An announcement that something swallowed on its way was heard by nobody, and its call is not counted.
    """
    paid = Counter(
        (call.prompt, call.step)
        for call in world.provider.calls
        if call.ending not in _UNBILLED and not _may_be_unheard(world, call)
    )
    allowed: defaultdict[tuple[str, int], int] = defaultdict(int)
    for job in _jobs(world).values():
        for step in range(1, len(job.spec.lanes) + 1):
            allowed[job.spec.prompt, step] += world.plan.paid_cap or job.spec.max_retries + 1
    for key, count in paid.items():
        if count > allowed[key]:
            yield f"{key} was paid for {count} times, {allowed[key]} allowed"


def _a_step_that_succeeded_is_never_begun_again(world: World) -> Iterator[str]:
    for row in world.rows():
        job = row.seen(attempts=True)
        passed = world.database.advanced.get(job.job_id)
        firsts = [attempt for attempt in job.attempts if attempt.step == 1]
        if passed is not None and any(attempt.start_time > passed for attempt in firsts):
            yield f"{job.job_id} began its first step again"
        if row.step_output is not None and passed is None and firsts:
            yield f"{job.job_id} was given what the first step gives, and began it all the same"


def _no_flaw_is_met_more_often_than_the_ladder_says(world: World) -> Iterator[str]:
    for (job_id, step, flaw), count in world.database.met_flaws.items():
        if count > MOST_RETRIES[Flaw(flaw)]:
            yield f"{job_id} was tried again {count} times after an answer that was {flaw}, in step {step}"


def _usage_is_the_sum_of_all_attempts(world: World) -> Iterator[str]:
    jobs = _jobs(world).values()
    attempts = [attempt for job in jobs for attempt in job.attempts]
    counts = world.database.store._usage.rows.values()
    used = sum((attempt.usage for attempt in attempts if attempt.usage), Usage())
    wasted = sum(map(_wasted_usd, world.rows()))
    for what, counted, right in (
        ("jobs", sum(each.jobs for each in counts), len(jobs)),
        ("tokens", sum((each.usage for each in counts), Usage()), used),
        ("unanswered calls", sum(each.unanswered_calls for each in counts), sum(each.unanswered for each in attempts)),
        ("dollars", _micros(sum(each.cost_usd for each in counts)), _micros(sum(each.cost_usd for each in attempts))),
        ("wasted dollars", _micros(sum(each.wasted_usd for each in counts)), _micros(wasted)),
    ):
        if counted != right:
            yield f"{counted} {what} are counted, {right} there were"


def _wasted_usd(row: JobRow) -> float:
    """Return what gave no accepted result: all of a job without one, else what led to none."""
    of_use = (row.job.attempt, row.passed_by) if row.job.state is JobState.SUCCEEDED else ()
    return sum(each.cost_usd for each in row.seen(attempts=True).attempts if each.attempt not in of_use)


def _nothing_is_accounted_for_that_the_providers_did_not_bill(world: World) -> Iterator[str]:
    billed: Counter[str] = Counter()
    for call in world.provider.calls:
        billed[call.model] += call.usage.input_tokens if call.usage else 0
    counted: Counter[str] = Counter()
    for (_, _, _, model, _), each in world.database.store._usage.rows.items():
        counted[model] += each.usage.input_tokens
    for model, tokens in counted.items():
        if tokens > billed[model]:
            yield f"{tokens} tokens of {model} are counted, {billed[model]} were billed"


def _micros(dollars: float) -> int:
    return round(dollars * 1e9)


def _may_be_unheard(world: World, call: Call) -> bool:
    return any(begin - _ANNOUNCED_SECONDS <= call.time <= end + _ANNOUNCED_SECONDS for begin, end in world.disturbances)


def _nobody_is_charged_for_what_the_provider_did_not_do(world: World) -> Iterator[str]:
    failures = Counter((call.prompt, call.step) for call in world.provider.calls if call.ending in (*_CHARGED, None))
    charged: Counter[tuple[str, int]] = Counter()
    for job in _jobs(world).values():
        charged[job.spec.prompt, job.step] += job.retry_count
        if job.state is JobState.FAILED and job.error is None:
            yield f"{job.job_id} failed without a word"
    for key, count in charged.items():
        if count > failures[key]:
            yield f"{key} was charged {count} retries for {failures[key]} failures"


def _a_key_pays_once_for_its_result(world: World) -> Iterator[str]:
    """Among identical requests that wish to share, one result was paid for."""
    results: defaultdict[tuple[bytes, str], list[str]] = defaultdict(list)
    for row in world.rows():
        job = row.job
        shares = job.spec.cache is CachePolicy.USE and job.spec.schedule_time is None
        if shares and row.dedup_key is not None and job.result is not None and not job.result.cached:
            results[row.dedup_key, job.spec.prompt].append(job.job_id)
    for (_, prompt), job_ids in results.items():
        if len(job_ids) > 1:
            yield f"{prompt} has {len(job_ids)} paid results: {job_ids}"


def _limits_hold(world: World) -> Iterator[str]:
    limit = world.plan.requests_per_minute
    # The limit is set half a second after the start, and takes a moment.
    calls = [call for call in world.provider.calls if call.time > 2.0 and call.step == 1]
    if limit:
        times = sorted(call.time for call in calls)
        most = max((sum(1 for other in times if time <= other < time + 60.0) for time in times), default=0)
        if most > limit:
            yield f"{most} calls in a minute, {limit} allowed"


def _nothing_is_left_on_a_spool(world: World) -> Iterator[str]:
    for site in world.executor_sites:
        left = [attempt for kept in site.disk.boots.values() for attempt in kept]
        if left:
            yield f"{site.name} keeps {left}"
