"""The standard `OTEL_*` variables that traces and metrics share."""

from pydantic import Field
from pydantic_settings import BaseSettings


class TelemetrySettings(BaseSettings):
    """Whether and how telemetry leaves the process; each signal adds the variables of its own."""

    sdk_disabled: bool = Field(default=False, validation_alias="OTEL_SDK_DISABLED")
    endpoint: str = Field(default="", validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    protocol: str = Field(default="grpc", validation_alias="OTEL_EXPORTER_OTLP_PROTOCOL")
    service_name: str = Field(default="", validation_alias="OTEL_SERVICE_NAME")

    def exports_to(self, *, exporter: str, endpoint: str) -> bool:
        """Return whether a signal with this exporter and endpoint of its own is exported."""
        if self.sdk_disabled or exporter == "none":
            return False
        return bool(self.endpoint or endpoint or exporter == "otlp")
