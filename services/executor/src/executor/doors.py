"""What the executor needs to leave this machine: its TLS, and the rule that it does not go out without."""

from collections.abc import Sequence

from executor.settings import ExecutorSettings
from runtime.addresses import is_loopback
from runtime.certificates import PemFile
from runtime.tls import ClientTls, ServerTls


class DoorsOpen(Exception):
    """The executor would speak with others without a key or TLS; the message is a sentence for the operator."""


def check_doors(settings: ExecutorSettings) -> None:
    """Make sure that an address that is not loopback is met with a key and TLS.

    Raises:
        DoorsOpen: It is not; the message says what to set.
    """
    dialled = _beyond_loopback("EXECUTOR_SCHEDULER_ADDRESS", settings.scheduler_address)
    served = _beyond_loopback("EXECUTOR_HEALTH_ADDRESS", [settings.health_address])
    missing = []
    if settings.read_api_key is None:
        missing.append("EXECUTOR_API_KEY_FILE (or EXECUTOR_API_KEY)")
    if dialled and not settings.dials_by_tls:
        missing.append("EXECUTOR_TLS=true (or EXECUTOR_TLS_CA_FILE)")
    if served and settings.tls_certificate_file is None:
        missing.append("EXECUTOR_TLS_CERTIFICATE_FILE with EXECUTOR_TLS_KEY_FILE")
    if settings.insecure or not (dialled or served) or not missing:
        return
    raise DoorsOpen(
        f"{' and '.join(dialled + served)} leads beyond this machine, so set {' and '.join(missing)};"
        " or set EXECUTOR_INSECURE=true if it is to be open on purpose."
    )


def client_tls(settings: ExecutorSettings) -> ClientTls | None:
    """Return the TLS of dials; None if they go without. Raises runtime.reloading.UnusableFile."""
    if not settings.dials_by_tls:
        return None
    ca, default_ca = settings.tls_ca_file, settings.ssl_cert_file
    certificate, key = _pair(settings)
    return ClientTls(
        ca=None if ca is None else PemFile("EXECUTOR_TLS_CA_FILE", ca),
        default_ca=None if default_ca is None else PemFile("SSL_CERT_FILE", default_ca),
        certificate=certificate,
        key=key,
    )


def health_tls(settings: ExecutorSettings) -> ServerTls | None:
    """Return the TLS of the health port; None if it serves without. Raises runtime.reloading.UnusableFile."""
    certificate, key = _pair(settings)
    return None if certificate is None or key is None else ServerTls(certificate=certificate, key=key)


def _pair(settings: ExecutorSettings) -> tuple[PemFile | None, PemFile | None]:
    certificate, key = settings.tls_certificate_file, settings.tls_key_file
    return (
        None if certificate is None else PemFile("EXECUTOR_TLS_CERTIFICATE_FILE", certificate),
        None if key is None else PemFile("EXECUTOR_TLS_KEY_FILE", key),
    )


def _beyond_loopback(setting: str, addresses: Sequence[str]) -> list[str]:
    return [f"{setting} ({address})" for address in addresses if not is_loopback(address)]
