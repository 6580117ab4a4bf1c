"""With what the executor dials: its key and its TLS, both read anew for each dial."""

from collections.abc import Callable, Sequence

import grpc

from executor.ports import LinkRefused
from executor.rpc.addresses import Target
from executor.settings import is_sendable
from runtime.addresses import is_loopback
from runtime.reloading import UnusableFile
from runtime.tls import ClientTls

Metadata = tuple[tuple[str, str], ...]


class Access:
    """Opens channels to schedulers."""

    def __init__(self, *, read_key: Callable[[], str] | None = None, tls: ClientTls | None = None) -> None:
        """Prepare.

        Args:
            read_key: Returns the executor's key, or raises OSError; None if it has none.
            tls: None dials without.
        """
        self._read_key = read_key
        self._tls = tls

    def metadata(self) -> Metadata:
        """Return what every call carries. Raises LinkRefused."""
        if self._read_key is None:
            return ()
        try:
            key = self._read_key()
        except OSError as error:
            raise LinkRefused("KEY_UNREADABLE", f"The executor's key cannot be read: {error}") from None
        if not is_sendable(key):
            raise LinkRefused("KEY_UNREADABLE", "The executor's key is empty, or holds what cannot be sent.")
        return (("authorization", f"Bearer {key.strip()}"),)

    def channel(self, target: Target, options: Sequence[tuple[str, object]]) -> grpc.aio.Channel:
        """Return a channel of its own. Raises LinkRefused."""
        # With `http_proxy` set gRPC would carry what is meant for this machine, with its key, to the proxy.
        options = [*options, ("grpc.enable_http_proxy", 0 if is_loopback(target.address) else 1)]
        if self._tls is None:
            return grpc.aio.insecure_channel(target.address, options=options)
        try:
            credentials = self._tls.credentials()
        except UnusableFile as error:
            raise LinkRefused("CERTIFICATES_UNREADABLE", str(error)) from None
        # The name that was configured must be the certificate's, whatever address it was resolved to.
        named = [*options, ("grpc.ssl_target_name_override", target.host)]
        return grpc.aio.secure_channel(target.address, credentials, options=named)
