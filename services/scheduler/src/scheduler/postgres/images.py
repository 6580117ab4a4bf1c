"""Keeps images: what is known of them, and their bytes, or where those are. See ports.SubmissionStore and ClaimStore.

An object is noted before it is written, and the note goes in the transaction that gives the image its object: so a
crash at any moment leaves no image without bytes, and no object that nobody knows of. What is noted and overdue, and
what an image named that is gone, the collection removes.
"""

import asyncio
import datetime
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from runtime import logs
from runtime.tasks import task_group
from scheduler.errors import ImageStoreUnusable, StoreUnavailable
from scheduler.jobs import ImageRef, NewImage
from scheduler.ports import ImageObjects
from scheduler.postgres.database import Database, Queries

_PUT = """
INSERT INTO images AS i (client_id, sha256, mime_type, size, data, create_time, expire_time)
SELECT $1, n.sha256, n.mime_type, octet_length(n.data), n.data, now(), now() + $5
FROM unnest($2::bytea[], $3::text[], $4::bytea[]) AS n (sha256, mime_type, data)
ORDER BY n.sha256
ON CONFLICT (client_id, sha256) DO UPDATE
SET expire_time = greatest(i.expire_time, excluded.expire_time), purge_id = NULL
"""
_FIND = """
UPDATE images SET expire_time = greatest(expire_time, now() + $3), purge_id = NULL
WHERE client_id = $1 AND sha256 = ANY ($2) RETURNING sha256, mime_type, size
"""
_GET = "SELECT sha256, data, object_key FROM images WHERE client_id = $1 AND sha256 = ANY ($2)"

# An hour is more than any write takes.
_NOTE_OBJECTS = """
INSERT INTO image_objects (object_key, remove_time) SELECT unnest($1::text[]), now() + interval '1 hour'
"""
# Whoever removes one moves its time into the past before.
_TAKE_NOTES = (
    "DELETE FROM image_objects WHERE object_key = ANY ($1::text[]) AND remove_time > now() RETURNING object_key"
)
# One that another call has stored meanwhile keeps its bytes.
_PUT_ELSEWHERE = """
INSERT INTO images AS i (client_id, sha256, mime_type, size, object_key, create_time, expire_time)
SELECT $1, n.sha256, n.mime_type, n.size, n.object_key, now(), now() + $6
FROM unnest($2::bytea[], $3::text[], $4::int[], $5::text[]) AS n (sha256, mime_type, size, object_key)
ORDER BY n.sha256
ON CONFLICT (client_id, sha256) DO UPDATE
SET expire_time = greatest(i.expire_time, excluded.expire_time), purge_id = NULL
RETURNING i.object_key
"""
_NOTE_UNUSED = "INSERT INTO image_objects (object_key, remove_time) SELECT unnest($1::text[]), '-infinity'"
_FORGET_LOST = "DELETE FROM images WHERE client_id = $1 AND object_key = ANY ($2::text[])"

IMAGE_LIFETIME = datetime.timedelta(hours=24)
"""How long images live at least."""

_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageKeeping:
    """How images are kept.

    Attributes:
        lifetime: After an image was sent or named for the last time; unfinished jobs keep theirs for longer.
        objects: Where bytes are that the database does not hold; None if there never were any.
    """

    lifetime: datetime.timedelta = IMAGE_LIFETIME
    objects: ImageObjects | None = None


class Images(Queries):
    """Implements what the store's readers need of images."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._image_lifetime = IMAGE_LIFETIME
        self._objects: ImageObjects | None = None

    def _keep_images(self, keeping: ImageKeeping) -> None:
        self._image_lifetime = keeping.lifetime
        self._objects = keeping.objects

    async def find_images(self, client_id: str, sha256s: Collection[str]) -> Mapping[str, ImageRef]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_FIND, client_id, _binary(sha256s), self._image_lifetime)
        return {
            row["sha256"].hex(): ImageRef(sha256=row["sha256"].hex(), mime_type=row["mime_type"], size=row["size"])
            for row in rows
        }

    async def put_images(self, client_id: str, images: Sequence[NewImage]) -> None:
        distinct = {image.ref.sha256: image for image in images}
        if self._objects is not None and self._objects.are_wanted:
            known = await self.find_images(client_id, distinct)
            new = [image for sha256, image in distinct.items() if sha256 not in known]
            if new:
                await self._put_elsewhere(self._objects, client_id, new)
            return
        async with self._database.connection() as connection:
            await connection.execute(
                _PUT,
                client_id,
                _binary(distinct),
                [image.ref.mime_type for image in distinct.values()],
                [image.data for image in distinct.values()],
                self._image_lifetime,
            )

    async def _put_elsewhere(self, objects: ImageObjects, client_id: str, images: Sequence[NewImage]) -> None:
        places = {objects.new_address(client_id, image.ref.sha256): image for image in images}
        async with self._database.connection() as connection:
            await connection.execute(_NOTE_OBJECTS, list(places))
        async with task_group(StoreUnavailable) as tasks:
            for address, image in places.items():
                tasks.create_task(objects.put(address, image.data))
        async with self._database.connection() as connection, connection.transaction():
            await _name_objects(connection, client_id, places, self._image_lifetime)

    async def get_images(
        self, client_id: str, sha256s: Collection[str], *, within: datetime.timedelta | None = None
    ) -> Mapping[str, bytes]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_GET, client_id, _binary(sha256s))
        found = {row["sha256"].hex(): row["data"] for row in rows if row["data"] is not None}
        elsewhere = {row["sha256"].hex(): row["object_key"] for row in rows if row["data"] is None}
        if elsewhere:
            found |= await self._read_elsewhere(client_id, elsewhere, within)
        return found

    async def _read_elsewhere(
        self, client_id: str, addresses: Mapping[str, str], within: datetime.timedelta | None
    ) -> Mapping[str, bytes]:
        """Read objects; with `within`, those that can be read in this time."""
        if self._objects is None:
            raise StoreUnavailable("The images are kept where this program has no access.")
        reading = _Reading(self._objects)
        try:
            async with (
                asyncio.timeout(None if within is None else within.total_seconds()),
                asyncio.TaskGroup() as tasks,
            ):
                for sha256, address in addresses.items():
                    tasks.create_task(reading.read(sha256, address))
        except TimeoutError:
            pass
        if within is not None:
            return reading.found
        if reading.failed:
            raise reading.failed[0]
        if reading.lost:
            await self._forget_lost(client_id, reading.lost)
        return reading.found

    async def _forget_lost(self, client_id: str, addresses: Sequence[str]) -> None:
        """Forget images whose bytes somebody else has removed: so whoever sends them again is heard."""
        _log.warning("image_objects_lost", addresses=addresses)
        async with self._database.connection() as connection:
            await connection.execute(_FORGET_LOST, client_id, addresses)

    async def try_objects(self) -> None:
        """Store, read and remove an object where new ones go, if they go anywhere. Raises ImageStoreUnusable."""
        objects = self._objects
        if objects is None or not objects.are_wanted:
            return
        await objects.prepare()
        address, data = objects.new_address("", "0" * 64), b"visionjobs looks whether it can write here"
        async with self._database.connection() as connection:
            await connection.execute(_NOTE_OBJECTS, [address])
        try:
            await objects.put(address, data)
            if await objects.get(address) != data:
                raise ImageStoreUnusable(address.rsplit("/", 2)[0], "what was written cannot be read")
        except StoreUnavailable as error:
            raise ImageStoreUnusable(address.rsplit("/", 2)[0], str(error)) from None
        gone = await objects.remove([address])
        if not gone:
            raise ImageStoreUnusable(address.rsplit("/", 2)[0], "what was written cannot be removed")
        async with self._database.connection() as connection:
            await connection.execute("DELETE FROM image_objects WHERE object_key = $1", address)


class _Reading:
    """Objects that are being read: those that were found, those that are lost, and what went wrong."""

    def __init__(self, objects: ImageObjects) -> None:
        self._objects = objects
        self.found: dict[str, bytes] = {}
        self.lost: list[str] = []
        self.failed: list[StoreUnavailable] = []

    async def read(self, sha256: str, address: str) -> None:
        try:
            data = await self._objects.get(address)
        except StoreUnavailable as error:
            self.failed.append(error)
            return
        if data is None:
            self.lost.append(address)
        else:
            self.found[sha256] = data


async def _name_objects(
    connection: asyncpg.Connection, client_id: str, places: Mapping[str, NewImage], lifetime: datetime.timedelta
) -> None:
    """Give images the objects that were written for them."""
    taken = {row["object_key"] for row in await connection.fetch(_TAKE_NOTES, list(places))}
    if taken != places.keys():
        raise StoreUnavailable("It took so long to store the images that they are being removed.")
    rows = await connection.fetch(
        _PUT_ELSEWHERE,
        client_id,
        _binary(image.ref.sha256 for image in places.values()),
        [image.ref.mime_type for image in places.values()],
        [image.ref.size for image in places.values()],
        list(places),
        lifetime,
    )
    unused = taken - {row["object_key"] for row in rows}
    if unused:
        await connection.execute(_NOTE_UNUSED, list(unused))


def _binary(sha256s: Iterable[str]) -> list[bytes]:
    return [bytes.fromhex(sha256) for sha256 in sha256s]
