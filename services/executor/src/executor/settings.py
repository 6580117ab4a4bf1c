"""The executor's settings: `EXECUTOR_` variables, and the providers' own."""

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from runtime.secret_files import read_secret
from runtime.settings import ProgramSettings, SettingsError

DEFAULT_BASE_URL = "https://generativelanguage.googleapis.com"
DEFAULT_DEEPSEEK_BASE_URL = "https://api.deepseek.com"


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
        (),
        description="What it serves, by comma: provider/model, or provider/*; empty is all of each provider with a key.",
    )
    spool_dir: Path = Field(
        default_factory=_spool_of_the_user,
        description="Where outcomes wait until a scheduler has stored them; on a disk that outlives a restart.",
    )
    drain_seconds: float = Field(300, ge=0, description="How long running calls may go on at a stop.")
    gemini_api_version: str = Field("v1beta", pattern=r"^v\d\w*$", description="Of the Gemini API.")
    image_workers: int = Field(1, ge=1, le=64, description="Processes that decode images, one image each at a time.")
    image_worker_memory_mib: int = Field(
        2048, ge=64, le=65_536, description="Of address space for each of them; 100 megapixels of WEBP take 1,700."
    )
    image_seconds: float = Field(20, gt=0, le=600, description="What one image may take to be decoded.")
    max_image_side: int = Field(
        0, ge=0, le=16_384, description="In pixels; longer images are made smaller before they are sent; 0 leaves all."
    )
    uri_seconds: float = Field(20, gt=0, le=600, description="What one image may take to come from its https address.")
    uri_allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="By comma, *.example.com for all below; if any, images are fetched from no other."
    )
    uri_allowed_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        (), description="By comma, in CIDR notation: networks to fetch images from although they are not public."
    )
    api_key: SecretStr | None = Field(None, description="The executor's own key, for schedulers.")
    api_key_file: Path | None = Field(None, description="Holds the executor's key; read anew at each dial.")
    tls: bool | None = Field(None, description="Dial by TLS; unset, any other EXECUTOR_TLS_ setting says yes.")
    tls_ca_file: Path | None = Field(None, description="PEM, the roots to trust; unset, the system's.")
    tls_certificate_file: Path | None = Field(
        None, description="PEM, with its chain: for schedulers that ask for one, and of the health port."
    )
    tls_key_file: Path | None = Field(None, validate_default=True, description="PEM, of the certificate.")
    insecure: bool = Field(default=False, description="Dial and serve beyond loopback without a key or without TLS.")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="The least level logged.")

    # The providers' own names; GOOGLE_API_KEY wins, as in its SDK.
    gemini_api_key: SecretStr | None = Field(None, validation_alias=AliasChoices("GOOGLE_API_KEY", "GEMINI_API_KEY"))
    base_url: str = Field(DEFAULT_BASE_URL, validation_alias="GOOGLE_GEMINI_BASE_URL", pattern=r"^https?://.+")

    deepseek_api_key: SecretStr | None = Field(None, validation_alias="DEEPSEEK_API_KEY")
    deepseek_base_url: str = Field(DEFAULT_DEEPSEEK_BASE_URL, pattern=r"^https?://.+", description="Of DeepSeek's API.")

    # OpenSSL's own name for the roots to trust.
    ssl_cert_file: Path | None = Field(None, validation_alias="SSL_CERT_FILE")

    @field_validator("scheduler_address", "lanes", "uri_allowed_hosts", "uri_allowed_networks", mode="before")
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

    @field_validator("uri_allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if not re.fullmatch(r"(\*\.)?[\w-]+(\.[\w-]+)*|[0-9a-fA-F:.]+", host, re.ASCII):
                raise ValueError(f"{host!r} is no host, and not *. before one")
        return value

    @field_validator("base_url", "deepseek_base_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        # Raises for a port that is none.
        urlsplit(value).port  # noqa: B018 - see above
        return value

    @field_validator("gemini_api_key", "deepseek_api_key", "api_key")
    @classmethod
    def _can_be_sent(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not (key := value.get_secret_value().strip()):
            return None
        if not is_sendable(key):
            raise ValueError("it holds characters that cannot be sent")
        return SecretStr(key)

    @field_validator("api_key_file")
    @classmethod
    def _holds_a_key(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is None:
            return None
        if info.data.get("api_key") is not None:
            raise ValueError("EXECUTOR_API_KEY is set too; set one of them")
        return value

    @field_validator("tls_ca_file")
    @classmethod
    def _is_of_use(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("tls") is False:
            raise ValueError("it is of no use while EXECUTOR_TLS is false")
        return value

    @field_validator("tls_key_file")
    @classmethod
    def _goes_with_its_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        certificate = info.data.get("tls_certificate_file")
        if certificate is not None and value is None:
            raise ValueError("it is needed beside EXECUTOR_TLS_CERTIFICATE_FILE")
        if certificate is None and value is not None:
            raise ValueError("it is of no use without EXECUTOR_TLS_CERTIFICATE_FILE")
        return value

    @property
    def provider_keys(self) -> Mapping[str, str]:
        """The key of each provider that has one."""
        keys = {"gemini": self.gemini_api_key, "deepseek": self.deepseek_api_key}
        return {provider: key.get_secret_value() for provider, key in keys.items() if key is not None}

    @property
    def dials_by_tls(self) -> bool:
        return self.tls if self.tls is not None else bool(self.tls_ca_file or self.tls_certificate_file)

    @property
    def read_api_key(self) -> Callable[[], str] | None:
        """What reads the key for schedulers; None if there is none. It raises OSError."""
        key, file = self.api_key, self.api_key_file
        if file is not None:
            return lambda: read_secret(file)
        return None if key is None else key.get_secret_value

    def check_files(self) -> None:
        file = self.api_key_file
        if file is None:
            return
        try:
            key = read_secret(file)
        except OSError as error:
            reason = error.strerror or error
            raise SettingsError(
                f"The setting EXECUTOR_API_KEY_FILE is wrong: {file} cannot be read ({reason})."
            ) from None
        if not is_sendable(key):
            raise SettingsError(f"The setting EXECUTOR_API_KEY_FILE is wrong: {file} holds no key.")


def is_sendable(key: str) -> bool:
    """Return whether a key can stand in a header."""
    return key.isascii() and key.isprintable() and bool(key.strip())
