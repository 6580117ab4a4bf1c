"""The base of every program's settings: read from the environment, checked at start, and strict about typing errors."""

import difflib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class ProgramSettings(BaseSettings):
    """Frozen settings with an environment prefix given by the subclass's `model_config`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, allow_inf_nan=False)

    def check_files(self) -> None:
        """Make sure that the files named here can be used, for programs that are about to. Raises SettingsError."""


class SettingsError(Exception):
    """The environment is not usable; the message is a sentence for the operator."""


Settings = TypeVar("Settings", bound=ProgramSettings)


def load(settings: type[Settings], environment: Mapping[str, str] | None = None, *, files: bool = True) -> Settings:
    """Read the settings from the environment.

    Args:
        settings: Which.
        environment: Instead of the process's own, for the names; the values are those of the process.
        files: Whether the files that they name are needed. A health check needs none: a running program whose key file
            is just being replaced is well.

    Raises:
        SettingsError: A value is wrong, or a variable with the prefix is unknown; the message names the variable.
    """
    variables = os.environ if environment is None else environment  # noqa: TID251 - settings read the environment
    prefix = settings.model_config.get("env_prefix", "")
    names = _variable_names(settings, prefix)
    unknown = sorted(name for name in variables if _is_meant_for(name, prefix) and name not in names)
    if unknown:
        raise SettingsError(_unknown_variable(unknown[0], names))
    try:
        loaded = settings()
    except ValidationError as error:
        raise SettingsError(_wrong_value(error, settings, prefix)) from None
    if files:
        loaded.check_files()
    return loaded


def load_or_exit(settings: type[Settings], *, files: bool = True) -> Settings:
    """As `load`, but end the program with the sentence and exit status 2."""
    try:
        return load(settings, files=files)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None


def _variable_names(settings: type[ProgramSettings], prefix: str) -> set[str]:
    names = set()
    for name, field in settings.model_fields.items():
        alias = field.validation_alias or f"{prefix}{name}"
        choices = getattr(alias, "choices", [alias] if isinstance(alias, str) else [])
        names |= {str(choice).upper() for choice in choices}
    return names


def _is_meant_for(name: str, prefix: str) -> bool:
    # Kubernetes sets SCHEDULER_PORT=tcp://…, SCHEDULER_SERVICE_HOST and the like in every pod beside a Service of
    # that name.
    injected = re.fullmatch(rf"{re.escape(prefix)}(PORT|SERVICE_\w+|PORT_\w+)", name)
    return name.startswith(prefix) and not injected


def _unknown_variable(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"The setting {name} is unknown.{hint}"


def _wrong_value(error: ValidationError, settings: type[ProgramSettings], prefix: str) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    name = f"{prefix}{field}".upper() if field in settings.model_fields else field.upper()
    if first["type"] == "missing":
        return f"The setting {name} is required."
    return f"The setting {name} is wrong: {first['msg'].removeprefix('Value error, ')}."
