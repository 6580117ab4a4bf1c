"""Who calls: the API key, and the trace that a call belongs to."""

from collections.abc import Callable
from pathlib import Path

from opentelemetry import propagate
from pydantic import SecretStr

from visionjobs.settings import ClientSettings

Metadata = tuple[tuple[str, str], ...]


class Caller:
    """Makes the metadata of each call."""

    def __init__(self, key: Callable[[], SecretStr] | None) -> None:
        """Take what tells the key, if there is one."""
        self._key = key

    @property
    def has_key(self) -> bool:
        return self._key is not None

    def metadata(self) -> Metadata:
        """Return the key, and the trace context if a span is current."""
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        # Some propagators write upper-case names, which gRPC refuses.
        trace = tuple((name.lower(), value) for name, value in carrier.items())
        return trace if self._key is None else (*trace, ("authorization", f"Bearer {self._key().get_secret_value()}"))


def caller(api_key: str | None, settings: ClientSettings) -> Caller:
    """Return who calls with this key, or with the environment's.

    Raises:
        ValueError: The key cannot be sent or read. The message does not show it.
    """
    if api_key is None and settings.api_key_file is not None:
        if settings.api_key is not None:
            raise ValueError("VISIONJOBS_API_KEY and VISIONJOBS_API_KEY_FILE are both set; one of them is enough.")
        return Caller(_KeyFile(settings.api_key_file).current)
    given = settings.api_key.get_secret_value() if api_key is None and settings.api_key is not None else api_key or ""
    if not given.strip():
        return Caller(None)
    key = _sendable(given)
    return Caller(lambda: key)


class _KeyFile:
    """A key in a file, which may be replaced meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key = self._read()

    def current(self) -> SecretStr:
        """Return the key that is in the file, or was before the file went away or stopped making sense."""
        try:
            self._key = self._read()
        except ValueError:
            # It is just being replaced, or the scheduler will soon say that the key has ended.
            return self._key
        return self._key

    def _read(self) -> SecretStr:
        try:
            key = self._path.read_text()
        except OSError as error:
            raise ValueError(f"The API key in {self._path} cannot be read ({error.strerror or error}).") from None
        except UnicodeDecodeError:
            raise ValueError(f"{self._path} holds no API key, but something that is no text.") from None
        if not key.strip():
            raise ValueError(f"{self._path} is empty, and not an API key.")
        return _sendable(key)


def _sendable(key: str) -> SecretStr:
    # gRPC itself would answer with an error that names neither the key nor the reason.
    if not (key.strip().isascii() and key.strip().isprintable()):
        raise ValueError("The API key holds characters that cannot be sent.")
    return SecretStr(key.strip())
