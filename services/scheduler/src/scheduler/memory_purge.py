"""How the store in memory forgets users. See ports.UserStore."""

from collections.abc import Collection

from scheduler.jobs import NewImage
from scheduler.memory_dedup import Dedup
from scheduler.memory_row import JobRow
from scheduler.memory_usage import MemoryUsage
from scheduler.memory_usage_sums import MemoryUsageSums
from scheduler.records import Purged


class MemoryPurge(MemoryUsageSums):
    """The part of the store that forgets, and that tells what was used: labels are forgotten there, too."""

    def __init__(self, rows: dict[str, JobRow], dedup: Dedup, counted: MemoryUsage) -> None:
        MemoryUsageSums.__init__(self, counted)
        self._purge_rows = rows
        self._purge_dedup = dedup
        self._images: dict[tuple[str, str], NewImage] = {}
        self._purged: list[tuple[str, str]] = []

    async def purge_user(self, client_id: str, user_id: str) -> Purged:
        theirs = [row for row in self._purge_rows.values() if row.job.client_id == client_id]
        due = [
            row for row in theirs if row.job.spec.user_id == user_id and row.job.state.is_final and not row.job.purged
        ]
        others = [row for row in theirs if row.job.spec.user_id != user_id]
        images = self._remove_images(client_id, due, others)
        for row in due:
            self._hand_on(row, others)
            row.purge()
        self._remove_labels(client_id, user_id)
        return images + Purged(jobs=len(due), results=sum(row.job.result is not None for row in due))

    def _remove_images(self, client_id: str, due: Collection[JobRow], others: Collection[JobRow]) -> Purged:
        there = {sha256 for sha256 in _used(due) if (client_id, sha256) in self._images}
        kept = there & _used([row for row in others if not row.job.state.is_final])
        for sha256 in there - kept:
            del self._images[client_id, sha256]
        return Purged(images=len(there - kept), kept_images=frozenset(kept))

    def _hand_on(self, row: JobRow, others: Collection[JobRow]) -> None:
        """Let others keep what they share with a job; each has a copy."""
        heirs = [each for each in others if each.shared_from == row.job.job_id and not each.job.purged]
        self._purge_dedup.hand_on(row, heirs[0] if heirs else None)
        for heir in heirs:
            heir.shared_from = heirs[0].job.job_id

    async def post_purged(self, client_id: str, user_id: str) -> None:
        self._purged.append((client_id, user_id))

    async def take_purged(self) -> Collection[tuple[str, str]]:
        purged, self._purged = self._purged, []
        return purged


def _used(rows: Collection[JobRow]) -> set[str]:
    return {image.sha256 for row in rows for image in row.job.spec.images}
