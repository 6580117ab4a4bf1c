"""The executor's settings: `EXECUTOR_` variables, and the provider's own."""

import os
import re
import tempfile
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from runtime.settings import ProgramSettings

DEFAULT_BASE_URL = "https://generativelanguage.googleapis.com"


def _spool_of_the_user() -> Path:
    try:
        home = Path.home()
    except RuntimeError:
        # Some users have none, as in a container.
        return Path(tempfile.gettempdir()) / f"visionjobs-spool-{os.getuid()}"
    return home / ".local" / "state" / "visionjobs" / "spool"


class ExecutorSettings(ProgramSettings):
    """Read once at start, and passed down in pieces."""

    model_config = SettingsConfigDict(env_prefix="EXECUTOR_")

    scheduler_address: Annotated[tuple[str, ...], NoDecode] = Field(
        ("127.0.0.1:50051",), min_length=1, description="One, several by comma, or a dns:/// name."
    )
    health_address: str = Field("127.0.0.1:50052", pattern=r".*:\d+$", description="host:port; port 0 picks one.")
    capacity: int = Field(3, ge=1, le=100_000, description="Jobs at once.")
    lanes: Annotated[tuple[str, ...], NoDecode] = Field(
        ("gemini/*",), min_length=1, description="What it serves, by comma: provider/model, or provider/*."
    )
    spool_dir: Path = Field(
        default_factory=_spool_of_the_user,
        description="Where outcomes wait until a scheduler has stored them; on a disk that outlives a restart.",
    )
    drain_seconds: float = Field(300, ge=0, description="How long running calls may go on at a stop.")
    gemini_api_version: str = Field("v1beta", pattern=r"^v\d\w*$", description="Of the Gemini API.")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="The least level logged.")

    # The provider's own names; GOOGLE_API_KEY wins, as in its SDK.
    api_key: SecretStr | None = Field(None, validation_alias=AliasChoices("GOOGLE_API_KEY", "GEMINI_API_KEY"))
    base_url: str = Field(DEFAULT_BASE_URL, validation_alias="GOOGLE_GEMINI_BASE_URL", pattern=r"^https?://.+")

    @field_validator("scheduler_address", "lanes", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("scheduler_address")
    @classmethod
    def _has_ports(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            if not re.fullmatch(r".+:\d+", address):
                raise ValueError(f"{address} has no port")
        return value

    @field_validator("lanes")
    @classmethod
    def _are_lanes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for lane in value:
            if not re.fullmatch(r"[\w.-]+/(\*|[\w.-]+)", lane, re.ASCII):
                raise ValueError(f"{lane!r} is not provider/model, and not provider/*")
        return value

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        # Raises for a port that is none.
        urlsplit(value).port  # noqa: B018 - see above
        return value

    @field_validator("api_key")
    @classmethod
    def _can_be_sent(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not (key := value.get_secret_value().strip()):
            return None
        if not (key.isascii() and key.isprintable()):
            raise ValueError("it holds characters that cannot be sent")
        return SecretStr(key)
