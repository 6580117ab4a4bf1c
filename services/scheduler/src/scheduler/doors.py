"""Which doors the scheduler opens: its TLS, and the rule that nobody outside of this machine finds one open."""

from runtime.addresses import is_loopback
from runtime.certificates import PemFile
from runtime.tls import ServerTls
from scheduler.settings import SchedulerSettings


class DoorsOpen(Exception):
    """The scheduler would serve others without keys or TLS; the message is a sentence for the operator."""


def check_doors(*, grpc_address: str, http_address: str, tls: bool, keys_exist: bool, insecure: bool) -> None:
    """Make sure that an address that is not loopback has keys and TLS behind it.

    Raises:
        DoorsOpen: It has not; the message says what to set.
    """
    addresses = (("SCHEDULER_GRPC_ADDRESS", grpc_address), ("SCHEDULER_HTTP_ADDRESS", http_address))
    reachable = [f"{setting} ({address})" for setting, address in addresses if not is_loopback(address)]
    missing = []
    if not keys_exist:
        missing.append("make a first key with `visionjobs-scheduler bootstrap-key`")
    if not tls:
        missing.append("set SCHEDULER_TLS_CERTIFICATE_FILE and SCHEDULER_TLS_KEY_FILE")
    if insecure or not reachable or not missing:
        return
    raise DoorsOpen(
        f"Others can reach {' and '.join(reachable)}, so {' and '.join(missing)};"
        " or set SCHEDULER_INSECURE=true if it is to be open on purpose."
    )


def server_tls(settings: SchedulerSettings) -> ServerTls | None:
    """Return the TLS of both ports; None if they serve without. Raises runtime.reloading.UnusableFile."""
    certificate, key, client_ca = settings.tls_certificate_file, settings.tls_key_file, settings.tls_client_ca_file
    if certificate is None or key is None:
        return None
    return ServerTls(
        certificate=PemFile("SCHEDULER_TLS_CERTIFICATE_FILE", certificate),
        key=PemFile("SCHEDULER_TLS_KEY_FILE", key),
        client_ca=None if client_ca is None else PemFile("SCHEDULER_TLS_CLIENT_CA_FILE", client_ca),
    )
