"""Objects in a bucket that is spoken to as S3 is.

What it takes to get in comes from the AWS_ variables, or from the machine: obstore looks it up.
"""

import datetime
import re

from obstore import delete_async, get_async, put_async
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from scheduler.object_images.places import PlaceFailed

_RETRIES = 2
_RETRY_FOR = datetime.timedelta(seconds=5)
# PermissionError and the like, too: obstore raises builtins where one fits.
_FAILURES = (BaseError, ValueError, OSError)


class Bucket:
    """Implements Place. The caller bounds how long a call may take: one that is cancelled lets go of its connection."""

    def __init__(self, url: str) -> None:
        try:
            # No client options: with any, those of the environment are not looked at. Objects are deleted one by one:
            # not every provider can do it in bulk.
            self._store = S3Store.from_url(
                url,
                config={"disable_bulk_delete": True},
                retry_config={"max_retries": _RETRIES, "retry_timeout": _RETRY_FOR},
            )
        except _FAILURES:
            # What it says may repeat the value of a variable.
            raise PlaceFailed("the AWS_ variables cannot be used") from None

    async def prepare(self) -> None:
        """Nothing is missing: buckets are made by their owner."""

    async def put(self, name: str, data: bytes) -> None:
        try:
            # In one piece: the parts of an upload that was not ended would stay for ever.
            await put_async(self._store, name, data, use_multipart=False)
        except _FAILURES as error:
            raise PlaceFailed(_reason(error)) from None

    async def get(self, name: str) -> bytes | None:
        try:
            found = await get_async(self._store, name)
            return bytes(await found.bytes_async())
        except FileNotFoundError as error:
            if _code(error) in ("", "NoSuchKey"):
                return None
            raise PlaceFailed(_reason(error)) from None
        except _FAILURES as error:
            raise PlaceFailed(_reason(error)) from None

    async def remove(self, name: str) -> None:
        try:
            await delete_async(self._store, name)
        except FileNotFoundError as error:
            if _code(error) not in ("", "NoSuchKey"):
                raise PlaceFailed(_reason(error)) from None
        except _FAILURES as error:
            raise PlaceFailed(_reason(error)) from None


def _reason(error: Exception) -> str:
    """Say in a few words what went wrong. The whole text may hold an access key, as the provider's answer does."""
    if code := _code(error):
        return code
    match error:
        case PermissionDeniedError() | PermissionError():
            return "access is denied"
        case UnauthenticatedError():
            return "the credentials are not accepted"
        case FileNotFoundError():
            return "there is no such bucket"
        case _:
            status = re.search(r"status code: (\d{3})|with status (\d{3})", str(error))
            return f"status {status[1] or status[2]}" if status else "no answer"


def _code(error: Exception) -> str:
    """Return the provider's own word for the error, "" if it told none."""
    found = re.search(r"<Code>(\w{1,64})</Code>", str(error))
    return found[1] if found else ""
