"""TLS of servers and clients: credentials whose certificates are read anew when their files change.

A server looks at every handshake, a client at every dial. Running connections keep what they began with.
"""

import ssl
from collections.abc import Sequence
from pathlib import Path

import grpc

from runtime.certificates import Authorities, Identity, PemFile, authorities, identity
from runtime.reloading import Reloaded


class ServerTls:
    """A server's certificate, and whose certificates its clients must present on the gRPC port, if any."""

    def __init__(self, *, certificate: PemFile, key: PemFile, client_ca: PemFile | None = None) -> None:
        """Read the files. Raises UnusableFile."""
        self._certificate = certificate
        self._key = key
        self._identity = identity("server", certificate, key)
        self._client_ca = None if client_ca is None else authorities("client_ca", client_ca)
        self._http_context: tuple[Identity, ssl.SSLContext] | None = None

    @property
    def files(self) -> Sequence[Reloaded[Identity] | Reloaded[Authorities]]:
        """What expires."""
        return [self._identity] if self._client_ca is None else [self._identity, self._client_ca]

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Return credentials for a gRPC port."""
        served = self._contents()

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            nonlocal served
            contents = self._contents()
            if contents == served:
                return None
            served = contents
            return _server_configuration(*contents)

        return grpc.dynamic_ssl_server_credentials(
            _server_configuration(*served),
            fetch,  # type: ignore[arg-type]  # the stubs forgot that None stands for what it was
            require_client_authentication=self._client_ca is not None,
        )

    def http_context(self) -> ssl.SSLContext:
        """Return a context for an HTTP port; it asks no client for a certificate."""
        context = self._current_http_context()

        def on_hello(connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
            connection.context = self._current_http_context()

        context.sni_callback = on_hello
        return context

    def own_client_credentials(self) -> tuple[grpc.ChannelCredentials, str]:
        """Return what a program beside the server dials it with, and the name that the server's certificate has.

        Who can read the server's key is let in, whoever has signed its certificate.
        """
        own = self._identity.current()
        credentials = grpc.ssl_channel_credentials(
            root_certificates=own.leaf, private_key=own.key, certificate_chain=own.chain
        )
        return credentials, own.name

    def _contents(self) -> tuple[Identity, Authorities | None]:
        return self._identity.current(), None if self._client_ca is None else self._client_ca.current()

    def _current_http_context(self) -> ssl.SSLContext:
        own = self._identity.current()
        if self._http_context is None or self._http_context[0] != own:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.set_alpn_protocols(["http/1.1"])
            try:
                # From the files, for a context takes nothing else; they may just be changing again.
                context.load_cert_chain(self._certificate.path, self._key.path, password="")
            except (OSError, ssl.SSLError):
                if self._http_context is None:
                    raise
            else:
                self._http_context = (own, context)
        return self._http_context[1]


class ClientTls:
    """Whom a client trusts, and what it presents itself."""

    def __init__(
        self,
        *,
        ca: PemFile | None = None,
        default_ca: PemFile | None = None,
        certificate: PemFile | None = None,
        key: PemFile | None = None,
    ) -> None:
        """Read the files. Raises UnusableFile.

        Args:
            ca: The trusted roots.
            default_ca: The trusted roots if `ca` is None; with neither they are the system's.
            certificate: For a server that asks for one; comes with its key.
            key: The certificate's.
        """
        self._ca = None if ca is None else authorities("ca", ca)
        self._default_ca = default_ca
        self._identity = None if certificate is None or key is None else identity("client", certificate, key)

    @property
    def files(self) -> Sequence[Reloaded[Identity] | Reloaded[Authorities]]:
        """What expires."""
        return [each for each in (self._ca, self._identity) if each is not None]

    def credentials(self) -> grpc.ChannelCredentials:
        """Return credentials for one dial. Raises UnusableFile."""
        own = None if self._identity is None else self._identity.current()
        return grpc.ssl_channel_credentials(
            root_certificates=_default_roots(self._default_ca) if self._ca is None else self._ca.current().roots,
            private_key=None if own is None else own.key,
            certificate_chain=None if own is None else own.chain,
        )


def _server_configuration(own: Identity, client_ca: Authorities | None) -> grpc.ServerCertificateConfiguration:
    # Its own certificate is trusted too, so that the health check beside it gets in with nothing but that.
    roots = None if client_ca is None else client_ca.roots + b"\n" + own.leaf
    return grpc.ssl_server_certificate_configuration([(own.key, own.chain)], root_certificates=roots)


def _default_roots(configured: PemFile | None) -> bytes | None:
    """Return the system's roots; None stands for those that gRPC brings along. Raises UnusableFile."""
    if configured is not None:
        return configured.read()
    system = ssl.get_default_verify_paths().cafile
    return PemFile("SSL_CERT_FILE", Path(system)).read() if system else None
