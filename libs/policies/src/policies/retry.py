"""Whether an attempt that gave no result is followed by another one.

| end of the attempt | charged to retry_count | next |
|---|---|---|
| retryable failure: provider 5xx, timeout, broken connection, unusable output | yes | after the backoff, never before the provider's own time |
| provider 5xx, timeout, broken connection while the lane's circuit breaker is not closed, its probe included | no | at the provider's own time, without one at once; the lane decides when |
| other failure: bad image, bad request, safety block | - | FAILED |
| throttled by the provider (429) | no | at once; the lane is closed for the provider's time |
| released: draining, bad key on one executor, no permit in time | no | at once |
| lost executor | no | at once |

Whatever the row says, no attempt follows where the job has expired, where as many calls of the step were paid for as may
be (`max_retries + 1`, or the cap that an operator set), or where its executor died the third time while it prepared the
job.
"""

from dataclasses import dataclass

from policies import backoff

MAX_PREPARING_DEATHS = 3
"""Executors that may die while they prepare a job before it is POISON."""


@dataclass(frozen=True, slots=True)
class TryAgain:
    """The job waits this long, then stands at its old place; None lets it stand there at once."""

    after_seconds: float | None
    charged: bool


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The job is FAILED."""


def after_failure(
    *,
    retryable: bool,
    retry_count: int,
    max_retries: int,
    breaker_closed: bool,
    provider_seconds: float | None,
    draw: float,
) -> TryAgain | GiveUp:
    """Decide what follows a failed attempt.

    Args:
        retryable: Whether the same job may succeed later.
        retry_count: Charged failures before this one.
        max_retries: How many charged failures are followed by another attempt.
        breaker_closed: Whether the lane's breaker was closed until this failure, or the failure is none that it counts.
        provider_seconds: The provider's own retry time, if it named one.
        draw: A random number in [0, 1).
    """
    if not retryable:
        return GiveUp()
    if not breaker_closed:
        return TryAgain(provider_seconds, charged=False)
    if retry_count >= max_retries:
        return GiveUp()
    wait = backoff.retry_seconds(retry_count, draw=draw)
    return TryAgain(max(wait, provider_seconds or 0.0), charged=True)


def may_pay_again(*, paid_calls: int, max_retries: int, cap: int = 0) -> bool:
    """Say whether another call of a step may be paid for, after this many; a cap of 0 is one more than the retries."""
    return paid_calls < (cap or max_retries + 1)
