"""Hands an executor the images of a job that runs."""

import re

from scheduler.errors import ImageNotAssigned
from scheduler.job_ids import normalised
from scheduler.ports import ClaimStore, ExecutorStore

_SHA256 = re.compile(r"[0-9a-f]{64}")


class AssignedImages:
    """The use case."""

    def __init__(self, *, executors: ExecutorStore, images: ClaimStore) -> None:
        self._executors = executors
        self._images = images

    async def get(self, job_id: str, sha256: str, *, executor_client: str) -> bytes:
        """Return the bytes of an image.

        Raises:
            ImageNotAssigned: The job does not run on an executor of this client, or does not use the image.
        """
        canonical = normalised(job_id)
        if canonical is not None and _SHA256.fullmatch(sha256):
            client_id = await self._executors.runs_with_image(canonical, sha256, executor_client=executor_client)
            if client_id is not None:
                found = await self._images.get_images(client_id, [sha256])
                if sha256 in found:
                    return found[sha256]
        raise ImageNotAssigned(
            f"The job {job_id} does not run on an executor of the caller, or does not use the image {sha256}."
        )
