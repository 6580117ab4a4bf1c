"""How long to wait before the next attempt."""

BASE_SECONDS = 1.0
CAP_SECONDS = 30.0
JITTER = 0.2

THROTTLED_BASE_SECONDS = 30.0
THROTTLED_CAP_SECONDS = 600.0


def retry_seconds(retry_number: int, *, draw: float) -> float:
    """Return the wait before a retry: `min(1 s · 2^n, 30 s)` plus up to 20 % jitter.

    Args:
        retry_number: n, from 0 for the first retry.
        draw: A random number in [0, 1).
    """
    return _exponential(retry_number, base=BASE_SECONDS, cap=CAP_SECONDS) * (1 + JITTER * draw)


def throttled_seconds(throttle_number: int, *, draw: float) -> float:
    """Return the wait after a 429 that names no time: from 30 s to 10 min, plus up to 20 % jitter."""
    return _exponential(throttle_number, base=THROTTLED_BASE_SECONDS, cap=THROTTLED_CAP_SECONDS) * (1 + JITTER * draw)


def _exponential(exponent: int, *, base: float, cap: float) -> float:
    # 2^64 seconds are beyond every cap; a larger exponent would overflow a float.
    return min(base * 2.0 ** min(exponent, 64), cap)
