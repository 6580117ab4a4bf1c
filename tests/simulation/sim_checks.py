"""What must be true of a history when it has come to rest."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator

from sim_provider import Call
from sim_world import Broken, World

from scheduler.jobs import CachePolicy, Job, JobState

_ANNOUNCED_SECONDS = 2.0
_CHARGED = ("failed", "broke", "invalid", "hung", "cancelled")


def check(world: World) -> None:
    """Raise Broken for the first promise that was not kept."""
    for promise in (
        _no_accepted_job_is_lost,
        _every_attempt_has_one_end,
        _results_are_those_of_their_requests,
        _no_job_pays_more_often_than_it_may,
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
        if job.state is JobState.SUCCEEDED:
            if job.result is None or json.loads(job.result.output_json) != {"echo": job.spec.prompt}:
                yield f"{job.job_id} has {job.result}"
        elif job.result is not None:
            yield f"{job.job_id} is {job.state.name} with a result"


def _no_job_pays_more_often_than_it_may(world: World) -> Iterator[str]:
    """Calls that may have been billed: those that ended without an error status. A key's jobs share their calls.

    An announcement that something swallowed on its way was heard by nobody, and its call is not counted.
    """
    paid = Counter(
        call.prompt
        for call in world.provider.calls
        if call.ending not in ("failed", "throttled", "refused") and not _may_be_unheard(world, call)
    )
    allowed: defaultdict[str, int] = defaultdict(int)
    for job in _jobs(world).values():
        allowed[job.spec.prompt] += job.spec.max_retries + 1
    for prompt, count in paid.items():
        if count > allowed[prompt]:
            yield f"{prompt} was paid for {count} times, {allowed[prompt]} allowed"


def _may_be_unheard(world: World, call: Call) -> bool:
    return any(begin - _ANNOUNCED_SECONDS <= call.time <= end + _ANNOUNCED_SECONDS for begin, end in world.disturbances)


def _nobody_is_charged_for_what_the_provider_did_not_do(world: World) -> Iterator[str]:
    failures = Counter(call.prompt for call in world.provider.calls if call.ending in (*_CHARGED, None))
    charged: Counter[str] = Counter()
    for job in _jobs(world).values():
        charged[job.spec.prompt] += job.retry_count
        if job.state is JobState.FAILED and job.error is None:
            yield f"{job.job_id} failed without a word"
    for prompt, count in charged.items():
        if count > failures[prompt]:
            yield f"{prompt} was charged {count} retries for {failures[prompt]} failures"


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
    calls = [call for call in world.provider.calls if call.time > 2.0]
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
