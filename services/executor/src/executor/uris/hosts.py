"""The addresses of the web that may be fetched: https, without a name and password, and of an allowed host."""

import re
from collections.abc import Sequence

import httpx2

from executor.ports import BadImage

MAX_URI_CHARACTERS = 8192
_SHOWN = 200
_HOST = re.compile(rb"[A-Za-z0-9_-][A-Za-z0-9._-]*|[0-9A-Fa-f:.]+")


class Hosts:
    """Decides about URIs, before anything is looked up."""

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        """Allow these hosts: a name, or all names below one as `*.example.com`; none stands for any."""
        self._allowed = tuple(name.lower() for name in allowed)

    def parse(self, uri: str, *, base: httpx2.URL | None = None) -> httpx2.URL:
        """Return a URI that may be fetched, without its fragment; `base` redirected to it. Raises BadImage."""
        what = "Its address" if base is None else f"{shown(base)} redirects to what"
        try:
            url = httpx2.URL(uri) if base is None else base.join(uri)
            # The host as people write it is made of its xn-- form only here, which may be none.
            port, host = url.port, url.host
        except (httpx2.InvalidURL, ValueError, TypeError):
            raise BadImage(f"{what} is no address.") from None
        if len(str(url)) > MAX_URI_CHARACTERS:
            raise BadImage(f"{what} has more than {MAX_URI_CHARACTERS:,} characters.")
        if url.scheme != "https" or not _HOST.fullmatch(url.raw_host):
            raise BadImage(f"{what} is no https address.")
        if url.userinfo:
            raise BadImage(f"{what} is an address with a name or password.")
        if port is not None and not 0 < port < 65_536:
            raise BadImage(f"{what} is an address with port {port}.")
        if not self._allows(host):
            raise BadImage(f"{what} is not of an allowed host.")
        return url.copy_with(fragment=None)

    def _allows(self, host: str) -> bool:
        host = host.lower().rstrip(".")
        return not self._allowed or any(
            host.endswith(name[1:]) if name.startswith("*.") else host == name for name in self._allowed
        )


def shown(url: httpx2.URL) -> str:
    """Return what people may see of it: a query may hold a signature."""
    return f"{url.scheme}://{url.netloc.decode('ascii', errors='replace')}{url.path}"[:_SHOWN]
