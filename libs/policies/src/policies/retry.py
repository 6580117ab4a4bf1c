"""Whether a failed attempt is followed by another one.

| outcome | charged to retry_count | next |
|---|---|---|
| retryable failure: provider 5xx, timeout, broken connection, unusable output | yes | after the backoff, never before the provider's own time |
| other failure: bad image, bad request, safety block | - | FAILED |
| throttled by the provider (429) | no | after the provider's time as it is; a 429 with none backs off from 30 s |
| released: draining, bad key on one executor; lost executor | no | at once |
"""

from dataclasses import dataclass

from policies import backoff


@dataclass(frozen=True, slots=True)
class TryAgain:
    """The job waits this long, then stands at its old place."""

    after_seconds: float
    charged: bool


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The job is FAILED."""


def after_failure(
    *, retryable: bool, retry_count: int, max_retries: int, provider_seconds: float | None, draw: float
) -> TryAgain | GiveUp:
    """Decide what follows a failed attempt.

    Args:
        retryable: Whether the same job may succeed later.
        retry_count: Charged failures before this one.
        max_retries: How many charged failures are followed by another attempt.
        provider_seconds: The provider's own retry time, if it named one.
        draw: A random number in [0, 1).
    """
    if not retryable or retry_count >= max_retries:
        return GiveUp()
    wait = backoff.retry_seconds(retry_count, draw=draw)
    return TryAgain(max(wait, provider_seconds or 0.0), charged=True)


def after_throttling(*, provider_seconds: float | None, throttle_count: int, draw: float) -> TryAgain:
    """Decide what follows a 429. Args as in `after_failure`; throttle_count counts the 429s before this one."""
    if provider_seconds is not None:
        return TryAgain(provider_seconds, charged=False)
    return TryAgain(backoff.throttled_seconds(throttle_count, draw=draw), charged=False)
