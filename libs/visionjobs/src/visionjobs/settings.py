"""Where the scheduler is and who calls, from the environment."""

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class ClientSettings(BaseSettings):
    """`VISIONJOBS_ADDRESS` (host:port, or any gRPC target) and `VISIONJOBS_API_KEY`."""

    model_config = SettingsConfigDict(env_prefix="VISIONJOBS_", frozen=True, extra="ignore", env_ignore_empty=True)

    address: str = "127.0.0.1:50051"
    api_key: SecretStr = SecretStr("")
