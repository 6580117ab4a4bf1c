"""Checks the address of an image that an executor will fetch.

Only what can be told without a look at the network: where a name leads is seen when it is fetched. Readers of addresses
disagree on what is odd, so an odd one is refused.
"""

import re

from policies.public_addresses import is_public, literal

_MOST_CHARACTERS = 2_048
_MOST_HOST_CHARACTERS = 253
_MOST_PORT = 65_535

# Those of RFC 3986.
_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*")
_HTTPS = re.compile(r"(?i:https)://(?P<authority>[^/?#]*)[^#]*(?P<fragment>#?)")
_HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)\]|(?P<name>[^\[\]:]+))(?::(?P<port>\d{0,5}))?")
_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")


def refusal(uri: str) -> str | None:
    """Return what is wrong with an address, in words that follow the field's name; None if nothing is.

    The words never repeat the address, which may hold a signature.
    """
    if not uri:
        return "is required"
    if len(uri) > _MOST_CHARACTERS:
        return f"has more than {_MOST_CHARACTERS:,} characters"
    if not _CHARACTERS.fullmatch(uri):
        return "has characters that an address cannot have; write them as %XX, and a host in its xn-- form"
    found = _HTTPS.match(uri)
    if not found:
        return "must begin with https://"
    if found["fragment"]:
        return "must not have a fragment"
    return _authority_refusal(found["authority"])


def _authority_refusal(authority: str) -> str | None:
    if "@" in authority:
        return "must not name a user"
    found = _HOST.fullmatch(authority)
    if not found:
        return "must name a host"
    if found["port"] and not 0 < int(found["port"]) <= _MOST_PORT:
        return f"must name a port from 1 to {_MOST_PORT:,}, or none"
    return _host_refusal(found["address"] or found["name"])


def _host_refusal(host: str) -> str | None:
    try:
        address = literal(host)
    except ValueError:
        return "must name a host, or an address in its usual form"
    if address is not None:
        return None if is_public(address) else "must not lead into a private network"
    if len(host) > _MOST_HOST_CHARACTERS or not _NAME.fullmatch(host):
        return "must name a host"
    return None
