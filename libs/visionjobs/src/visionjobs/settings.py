"""Where the scheduler is, who calls, and by TLS or not: from the environment."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from visionjobs.tls import Tls

_PREFIX = "VISIONJOBS_"


class ClientSettings(BaseSettings):
    """The variables with the prefix `VISIONJOBS_`."""

    # What was typed may be a secret in the wrong variable.
    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    address: str = "127.0.0.1:50051"
    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    # Unset, any of the files says yes.
    tls: bool | None = None
    tls_ca_file: Path | None = None
    tls_certificate_file: Path | None = None
    tls_key_file: Path | None = None
    # The key may go beyond this machine without TLS.
    insecure: bool = False
    # OpenSSL's own name for the roots to trust.
    ssl_cert_file: Annotated[Path | None, Field(validation_alias="SSL_CERT_FILE")] = None

    def tls_with(self, *, wanted: Tls | bool | None) -> Tls | None:
        """Return the TLS to call by, with the environment's files where no others are wanted; None for none.

        Args:
            wanted: None leaves it to the environment.
        """
        files = (self.tls_ca_file, self.tls_certificate_file, self.tls_key_file)
        if wanted is None:
            wanted = any(file is not None for file in files) if self.tls is None else self.tls
        if wanted is False:
            return None
        chosen = Tls() if wanted is True else wanted
        own = chosen if chosen.certificate_file else Tls(certificate_file=files[1], key_file=files[2])
        return Tls(
            ca_file=chosen.ca_file or self.tls_ca_file or self.ssl_cert_file,
            certificate_file=own.certificate_file,
            key_file=own.key_file,
        )


def load() -> ClientSettings:
    """Read the environment. Raises ValueError with a sentence that names the variable and not what it holds."""
    try:
        return ClientSettings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        name = f"{_PREFIX}{first['loc'][0]}".upper()
        raise ValueError(f"The setting {name} is wrong: {first['msg']}.") from None
