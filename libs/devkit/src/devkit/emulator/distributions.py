"""How long calls may take: distributions, by model, and how they are written as JSON and as options."""

import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import Any, ClassVar

_SIGMA = 0.35
_P99 = NormalDist().inv_cdf(0.99)
_MOST_SECONDS = 86_400.0
_MOST_MODELS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """Each call takes the same time."""

    kind: ClassVar[str] = "fixed"
    seconds: float

    def __post_init__(self) -> None:
        _check_seconds(asdict(self))

    def draw(self, _: random.Random) -> float:
        return self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform:
    """All times between two bounds are alike."""

    kind: ClassVar[str] = "uniform"
    least_seconds: float
    most_seconds: float

    def __post_init__(self) -> None:
        _check_seconds(asdict(self))
        if self.least_seconds > self.most_seconds:
            raise ValueError("least_seconds must not be more than most_seconds")

    def draw(self, generator: random.Random) -> float:
        return generator.uniform(self.least_seconds, self.most_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogNormal:
    """Half of the calls take less than the median, 1 in 100 more than p99; without it, that is 2.26 medians."""

    kind: ClassVar[str] = "lognormal"
    median_seconds: float
    p99_seconds: float | None = None

    def __post_init__(self) -> None:
        _check_seconds(asdict(self))
        if self.p99_seconds is not None and self.p99_seconds < self.median_seconds:
            raise ValueError("p99_seconds must not be less than median_seconds")

    def draw(self, generator: random.Random) -> float:
        if not self.median_seconds:
            return 0.0
        sigma = _SIGMA if self.p99_seconds is None else math.log(self.p99_seconds / self.median_seconds) / _P99
        return self.median_seconds * math.exp(sigma * generator.gauss())


Distribution = Fixed | Uniform | LogNormal

_KINDS: Mapping[str, type[Distribution]] = {each.kind: each for each in (Fixed, Uniform, LogNormal)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """Distributions by model; the default is for all others."""

    default: Distribution
    models: Mapping[str, Distribution] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.models) > _MOST_MODELS:
            raise ValueError(f"at most {_MOST_MODELS} models may have a latency of their own")

    def as_json(self) -> dict[str, object]:
        return {
            "default": _as_json(self.default),
            "models": {model: _as_json(distribution) for model, distribution in self.models.items()},
        }


def read_latencies(document: object, *, default: Distribution) -> Latencies:
    """Return the latencies that a JSON document describes; what has no default keeps this one.

    Raises:
        ValueError: It describes none; the message says why.
    """
    models = document.get("models", {}) if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(models, dict) or document.keys() - {"default", "models"}:
        raise ValueError("latencies are an object of default, a distribution, and models, an object of them")
    return Latencies(
        default=_read(document["default"]) if "default" in document else default,
        models={model: _read(each) for model, each in models.items()},
    )


def read_latency_option(text: str) -> tuple[str, Distribution]:
    """Return the model, "" for all, and the distribution of a `[MODEL=]KIND:SECONDS[,SECONDS]`.

    Raises:
        ValueError: It is none; the message says why.
    """
    model, _, rest = text.rpartition("=")
    kind, _, times = rest.partition(":")
    try:
        seconds = [float(each) for each in times.split(",")]
        return model, _of_seconds(kind, seconds)
    except (ValueError, IndexError) as error:
        form = "[MODEL=]fixed:S, uniform:S,S or lognormal:MEDIAN[,P99], in seconds"
        raise ValueError(f"{text} is not of the form {form}: {error}") from None


def _of_seconds(kind: str, seconds: list[float]) -> Distribution:
    match kind, seconds:
        case "fixed", [each]:
            return Fixed(seconds=each)
        case "uniform", [least, most]:
            return Uniform(least_seconds=least, most_seconds=most)
        case "lognormal", [median]:
            return LogNormal(median_seconds=median)
        case "lognormal", [median, p99]:
            return LogNormal(median_seconds=median, p99_seconds=p99)
        case _:
            raise ValueError("there is no such distribution")


def _read(document: Any) -> Distribution:
    if not isinstance(document, dict) or document.get("kind") not in _KINDS:
        raise ValueError(f"a distribution is an object with a kind of {', '.join(_KINDS)}")
    fields = {name: value for name, value in document.items() if name != "kind"}
    try:
        return _KINDS[document["kind"]](**fields)
    except TypeError:
        raise ValueError(f"{', '.join(sorted(fields)) or 'nothing'} does not describe a {document['kind']}") from None


def _as_json(distribution: Distribution) -> dict[str, object]:
    return {"kind": distribution.kind, **asdict(distribution)}


def _check_seconds(fields: Mapping[str, object]) -> None:
    for name, value in fields.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST_SECONDS:
            raise ValueError(f"{name} must be between 0 and {_MOST_SECONDS:g}")
