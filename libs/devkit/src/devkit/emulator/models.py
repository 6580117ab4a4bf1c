"""Which models there are, which are retired, and which are answered by another one: a state that lasts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

_MOST_MODELS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChanges:
    """What was announced of models.

    Attributes:
        retired: They are not found any more.
        rerouted: The model that answers, by the one that is asked for.
    """

    retired: tuple[str, ...] = ()
    rerouted: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [*self.retired, *self.rerouted, *self.rerouted.values()]
        if len(names) > _MOST_MODELS:
            raise ValueError(f"at most {_MOST_MODELS} models may be named")
        if not all(names):
            raise ValueError("no name of a model may be blank")


def read_changes(document: object) -> ModelChanges:
    """Return the changes that a JSON document describes.

    Raises:
        ValueError: It describes none; the message says why.
    """
    if isinstance(document, dict) and not document.keys() - {"retired", "rerouted"}:
        retired, rerouted = document.get("retired", []), document.get("rerouted", {})
        if isinstance(retired, list) and isinstance(rerouted, dict) and _are_names([*retired, *rerouted.values()]):
            return ModelChanges(retired=tuple(retired), rerouted=rerouted)
    raise ValueError("changes of models are an object of retired, a list of models, and rerouted, an object of them")


def _are_names(values: list[object]) -> bool:
    return all(isinstance(value, str) for value in values)


class Models:
    """Knows who serves a model.

    Attributes:
        changes: They hold for the calls to come.
    """

    def __init__(self, *, gemini: tuple[str, ...], deepseek: tuple[str, ...]) -> None:
        self._known = {"gemini": gemini, "deepseek": deepseek}
        self.changes = ModelChanges()

    def served_by(self, provider: str, model: str) -> str | None:
        """Return the model that answers; None if there is none any more, or never was."""
        if model in self.changes.retired:
            return None
        if model in self.changes.rerouted:
            return self.changes.rerouted[model]
        return model if model in self._known[provider] else None

    def as_json(self) -> dict[str, object]:
        return asdict(self.changes) | {"known": self._known}
