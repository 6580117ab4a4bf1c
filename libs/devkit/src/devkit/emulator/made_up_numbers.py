"""Numbers inside the bounds that a schema sets, from a draw."""

import math
import sys
from collections.abc import Mapping
from typing import Any

DRAWS = 1 << 64
"""How many draws there are: a draw is a whole number from 0 to one less."""

_UNBOUNDED_RANGE = 1_000_000
_DIGITS = 6
_INT32 = (-(2**31), 2**31 - 1)


def integer(schema: Mapping[str, Any], draw: int) -> int | None:
    """Return a whole number that lies in its range where `draw` lies among DRAWS; None if there is none in the bounds."""
    low = math.ceil(schema["minimum"]) if "minimum" in schema else None
    high = math.floor(schema["maximum"]) if "maximum" in schema else None
    if low is None:
        low = 0 if high is None or high >= _UNBOUNDED_RANGE else high - _UNBOUNDED_RANGE
    if high is None:
        high = low + _UNBOUNDED_RANGE
    if schema.get("format") == "int32":
        low, high = max(low, _INT32[0]), min(high, _INT32[1])
    return low + ((high - low + 1) * draw // DRAWS) if low <= high else None


def number(schema: Mapping[str, Any], fraction: float) -> float | None:
    """Return a number of about six digits at a fraction of its range, 0 to 1; None if there is none in the bounds."""
    high = float(schema["maximum"]) if "maximum" in schema else None
    if "minimum" in schema:
        low = float(schema["minimum"])
    else:
        low = 0.0 if high is None or high >= _UNBOUNDED_RANGE else high - _UNBOUNDED_RANGE
    if high is None:
        high = low + _UNBOUNDED_RANGE
    if low > high:
        return None
    # Not low + (high - low) * fraction: the difference of two floats may be more than a float holds.
    exact = low * (1 - fraction) + high * fraction
    return min(max(_shortened(exact, high / 2 - low / 2), low), high)


def _shortened(exact: float, half_width: float) -> float:
    """Return the number with as many decimals as its range deserves."""
    if half_width <= 0:
        return exact
    decimals = _DIGITS - math.floor(math.log10(half_width))
    return round(exact, decimals) if decimals <= sys.float_info.max_10_exp else exact
