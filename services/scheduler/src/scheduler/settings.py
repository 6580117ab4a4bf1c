"""The scheduler's settings: `SCHEDULER_` variables of the environment."""

import datetime
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from policies.submission_rate import SLOWEST_PER_SECOND
from runtime.secret_files import read_secret
from runtime.settings import ProgramSettings, SettingsError
from scheduler.callers import ReflectionAccess

DEFAULT_MODELS = (
    "gemini-3.8-flash",
    "gemini-3.7-flash",
    "gemini-3.6-flash",
    "gemini-3.5-flash",
    "gemini-3.5-flash-lite",
    "gemini-3.1-flash-lite",
)

DEFAULT_DEEPSEEK_MODELS = ("deepseek-v4-flash", "deepseek-v4-pro")

_YEAR_SECONDS = 31_536_000
_DAY_SECONDS = 86_400
_HOUR_SECONDS = 3_600


class SchedulerSettings(ProgramSettings):
    """Read once at start, and passed down in pieces."""

    model_config = SettingsConfigDict(env_prefix="SCHEDULER_")

    database_url: SecretStr = Field(description="Any postgresql:// URL; several hosts and sslmode included.")
    grpc_address: str = Field("127.0.0.1:50051", description="host:port; port 0 picks one.")
    http_address: str = Field("127.0.0.1:8080", description="host:port; port 0 picks one.")
    public_url: str = Field(
        "", description="Where callers reach the HTTP port: https://host, for links to jobs; empty leaves their path."
    )
    insecure: bool = Field(
        default=False, description="Serve on other addresses than loopback without keys or without TLS."
    )
    tls_certificate_file: Path | None = Field(None, description="PEM, with its chain: both ports serve by TLS.")
    tls_key_file: Path | None = Field(None, validate_default=True, description="PEM, of the certificate.")
    tls_client_ca_file: Path | None = Field(
        None, description="PEM; who comes to the gRPC port must present a certificate that one of these has signed."
    )
    models: Annotated[tuple[str, ...], NoDecode] = Field(
        DEFAULT_MODELS, min_length=1, description="Models that jobs may name, by comma; the first is the default."
    )
    deepseek_models: Annotated[tuple[str, ...], NoDecode] = Field(
        DEFAULT_DEEPSEEK_MODELS,
        min_length=1,
        description="Models that second steps may name, by comma; the first is the default.",
    )
    timeout_seconds: float = Field(300, ge=10, le=3600, description="The longest one attempt may take by default.")
    flex_timeout_seconds: float = Field(
        1200, ge=10, le=3600, description="The longest one attempt in the flex tier may take by default."
    )
    low_priority_tier: str = Field(
        "FLEX",
        pattern="^(STANDARD|FLEX|PRIORITY)$",
        description="The service tier of jobs at priority 3 that name none: STANDARD, FLEX or PRIORITY.",
    )
    max_retries: int = Field(3, ge=0, le=10, description="Charged failures that are followed by another attempt.")
    max_paid_calls: int = Field(
        0, ge=0, description="Paid calls that a step of a job may cost; 0 is one more than its retries."
    )
    heartbeat_seconds: float = Field(3, gt=0, le=_HOUR_SECONDS, description="How often executors send a heartbeat.")
    executor_lost_seconds: float = Field(
        10, gt=0, le=_HOUR_SECONDS, description="Silence after which an executor is lost; at least two heartbeats."
    )
    breaker_failures: int = Field(5, ge=1, description="Provider failures in a row that open a lane's circuit breaker.")
    breaker_open_seconds: float = Field(
        300, gt=0, le=_YEAR_SECONDS, description="How long an open breaker lets nothing through."
    )
    schema_failures: int = Field(
        5, ge=1, description="Refusals in a row, without a word of why, that stop a client's schema in a lane."
    )
    schema_stop_seconds: float = Field(
        3600, gt=0, le=_DAY_SECONDS, description="How long a stopped schema is refused before one job tries it again."
    )
    image_refusals: int = Field(2, ge=1, description="Refusals that put an image in quarantine, for a day.")
    result_cache_seconds: float = Field(
        3600, ge=0, le=_YEAR_SECONDS, description="How long a result answers identical requests."
    )
    aging_seconds: float = Field(
        0,
        ge=0,
        le=_YEAR_SECONDS,
        description="A job that waited this long rises by one priority, and again; 0 lets none rise.",
    )
    reflection: ReflectionAccess = Field(
        ReflectionAccess.OPEN, description="Who may ask by reflection what calls there are: open, keys or off."
    )
    database_password_file: Path | None = Field(
        None, description="Holds the database's password; read anew for each connection."
    )
    database_pool_min: int = Field(2, ge=1, description="Connections kept open.")
    database_pool_max: int = Field(10, ge=4, description="Connections at most.")
    database_pool_idle_seconds: float = Field(30, gt=0, description="Idle time after which a connection is closed.")
    database_connect_seconds: float = Field(2, gt=0, description="The longest a connection may take to open.")
    client_submissions_per_second: float = Field(
        0,
        ge=0,
        le=1e9,
        description="Jobs that a client may submit per second, unless its key says otherwise; 0 is no limit.",
    )
    client_max_queued_jobs: int = Field(
        0, ge=0, description="Jobs that a client may have in the queue, unless its key says otherwise; 0 is no limit."
    )
    client_max_watches: int = Field(100, ge=1, description="Watches that a client may have open on this scheduler.")
    client_max_uploads: int = Field(16, ge=1, description="Images that a client may upload at a time.")
    client_max_calls: int = Field(1_000, ge=1, description="Other calls that a client may have open at a time.")
    max_submissions: int = Field(
        32, ge=1, description="Submissions that are worked on at a time; what waits for too long is refused."
    )
    slow_peer_seconds: float = Field(
        30,
        gt=0,
        le=_HOUR_SECONDS,
        description="How long a call may stand still as its peer does not read, or sends no more of an upload.",
    )
    image_store: str = Field(
        "",
        description="Where the bytes of images are kept: s3://bucket/prefix or file:///directory; empty is the database.",
    )
    image_lifetime_seconds: float = Field(
        _DAY_SECONDS,
        ge=_DAY_SECONDS,
        le=_YEAR_SECONDS,
        description="How long an image is kept after it was sent or named; unfinished jobs keep theirs.",
    )
    stop_seconds: float = Field(10, ge=0, le=_HOUR_SECONDS, description="How long running calls may go on at a stop.")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="The least level logged.")

    @field_validator("models", "deepseek_models", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("models", "deepseek_models")
    @classmethod
    def _check_models(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for model in value:
            if not re.fullmatch(r"[\w.-]+", model, re.ASCII):
                raise ValueError(f"{model!r} is not a model's name")
        return value

    @field_validator("database_url")
    @classmethod
    def _check_url(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("it must begin with postgresql://")
        return value

    @field_validator("grpc_address", "http_address")
    @classmethod
    def _check_address(cls, value: str) -> str:
        port = value.rpartition(":")[2]
        if not port.isdecimal() or int(port) > 65_535:
            raise ValueError("it must be host:port")
        return value

    @field_validator("http_address")
    @classmethod
    def _check_http_address(cls, value: str) -> str:
        if value.startswith("unix:"):
            raise ValueError("it must be host:port, not a unix socket")
        return value

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str) -> str:
        parts = urlsplit(value)
        is_plain = not (parts.query or parts.fragment or parts.username or parts.password)
        if value and not (parts.scheme in {"http", "https"} and parts.hostname and is_plain):
            raise ValueError("it must be http:// or https:// with a host, and a path at most")
        return value.rstrip("/")

    @field_validator("image_store")
    @classmethod
    def _check_image_store(cls, value: str) -> str:
        is_place = re.fullmatch(
            r"s3://[a-z0-9][a-z0-9.-]+[a-z0-9](/[\w.=-]+)*/*|file:///[^?#]*[^?#/][^?#]*", value, re.ASCII
        )
        if value and (not is_place or "/../" in f"{value}/"):
            raise ValueError("it must be s3://bucket, s3://bucket/prefix, or file:/// and a directory")
        return value.rstrip("/")

    @field_validator("tls_key_file")
    @classmethod
    def _check_tls_key(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        certificate = info.data.get("tls_certificate_file")
        if certificate is not None and value is None:
            raise ValueError("it is needed beside SCHEDULER_TLS_CERTIFICATE_FILE")
        if certificate is None and value is not None:
            raise ValueError("it is of no use without SCHEDULER_TLS_CERTIFICATE_FILE")
        return value

    @field_validator("tls_client_ca_file")
    @classmethod
    def _check_tls_client_ca(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("tls_certificate_file") is None:
            raise ValueError("it is of no use without SCHEDULER_TLS_CERTIFICATE_FILE")
        return value

    @field_validator("client_submissions_per_second")
    @classmethod
    def _check_rate(cls, value: float) -> float:
        if 0 < value < SLOWEST_PER_SECOND:
            raise ValueError(f"it must be 0, or at least {SLOWEST_PER_SECOND:g}")
        return value

    @field_validator("database_pool_max")
    @classmethod
    def _check_pool(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("database_pool_min", 0):
            raise ValueError("it must not be less than SCHEDULER_DATABASE_POOL_MIN")
        return value

    @field_validator("executor_lost_seconds")
    @classmethod
    def _check_lost(cls, value: float, info: ValidationInfo) -> float:
        # An executor may begin calls for 0.7 of it after a heartbeat: with less, its lease would lapse between two.
        if value < 2 * info.data.get("heartbeat_seconds", 0):
            raise ValueError("it must be at least twice SCHEDULER_HEARTBEAT_SECONDS")
        return value

    @property
    def database_password(self) -> Callable[[], str] | None:
        """What reads the password; None if the URL has it, or none is needed."""
        file = self.database_password_file
        return None if file is None else lambda: read_secret(file)

    @property
    def open_call_limits(self) -> Mapping[str, int]:
        """How many calls of each kind a client may have open."""
        return {
            "watches": self.client_max_watches,
            "uploads": self.client_max_uploads,
            "calls": self.client_max_calls,
        }

    @property
    def timeout(self) -> datetime.timedelta:
        return datetime.timedelta(seconds=self.timeout_seconds)

    @property
    def flex_timeout(self) -> datetime.timedelta:
        return datetime.timedelta(seconds=self.flex_timeout_seconds)

    @property
    def heartbeat_interval(self) -> datetime.timedelta:
        return datetime.timedelta(seconds=self.heartbeat_seconds)

    @property
    def breaker_open(self) -> datetime.timedelta:
        return datetime.timedelta(seconds=self.breaker_open_seconds)

    @property
    def schema_stop(self) -> datetime.timedelta:
        return datetime.timedelta(seconds=self.schema_stop_seconds)

    @property
    def image_lifetime(self) -> datetime.timedelta:
        return datetime.timedelta(seconds=self.image_lifetime_seconds)

    @property
    def result_lifetime(self) -> datetime.timedelta:
        return datetime.timedelta(seconds=self.result_cache_seconds)

    @property
    def aging(self) -> datetime.timedelta | None:
        return datetime.timedelta(seconds=self.aging_seconds) if self.aging_seconds else None

    @property
    def lost_after(self) -> datetime.timedelta:
        return datetime.timedelta(seconds=self.executor_lost_seconds)

    def check_files(self) -> None:
        if (file := self.database_password_file) is None:
            return
        try:
            read_secret(file)
        except OSError as error:
            reason = error.strerror or error
            raise SettingsError(
                f"The setting SCHEDULER_DATABASE_PASSWORD_FILE is wrong: {file} cannot be read ({reason})."
            ) from None
