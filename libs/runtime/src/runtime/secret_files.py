"""Secrets that lie in files of their own, where orchestrators put them and replace them."""

from pathlib import Path


def read_secret(path: Path) -> str:
    """Return what the file holds, without the line end that editors add. Raises OSError, never with the content."""
    try:
        return path.read_text().rstrip("\r\n")
    except UnicodeDecodeError:
        raise OSError(f"{path} holds no text") from None
