"""What can be set of the emulator."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from devkit.emulator.distributions import Distribution, Latencies, LogNormal
from devkit.emulator.faults import Fault
from devkit.emulator.quotas import Limits

DEFAULT_MODELS = (
    "gemini-3.8-flash",
    "gemini-3.7-flash",
    "gemini-3.6-flash",
    "gemini-3.5-flash",
    "gemini-3.5-flash-lite",
    "gemini-3.1-flash-lite",
)
DEFAULT_DEEPSEEK_MODELS = ("deepseek-v4-flash", "deepseek-v4-pro")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorSettings:
    """How the emulator behaves.

    Attributes:
        models: The models of Gemini's it knows; any other is not found.
        deepseek_models: The same of DeepSeek's.
        latency_seconds: The median of what a call takes; 0 answers at once.
        latencies: Distributions in its place by model; that of "" holds for all others.
        seed: Of the drawn latencies and faults. Answers do not depend on it, only on the pixels.
        faults: The script at the start.
        limits: The quotas at the start.
    """

    models: tuple[str, ...] = DEFAULT_MODELS
    deepseek_models: tuple[str, ...] = DEFAULT_DEEPSEEK_MODELS
    latency_seconds: float = 1.2
    latencies: Mapping[str, Distribution] = field(default_factory=dict)
    seed: int = 0
    faults: tuple[Fault, ...] = ()
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.models or not all(self.models):
            raise ValueError("models must name at least one model, and no blank one")
        if self.latency_seconds < 0:
            raise ValueError("latency_seconds must not be negative")

    @property
    def all_latencies(self) -> Latencies:
        default = self.latencies.get("", LogNormal(median_seconds=self.latency_seconds))
        return Latencies(default=default, models={model: each for model, each in self.latencies.items() if model})
