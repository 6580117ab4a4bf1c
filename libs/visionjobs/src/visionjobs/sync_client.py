"""The client for programs without an event loop: it drives the asynchronous one on a thread of its own."""

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Mapping
from datetime import date, timedelta
from os import PathLike
from types import TracebackType
from typing import Any, Self, TypeVar

from visionjobs.alerts import Alert
from visionjobs.client import AsyncClient
from visionjobs.job_filter import JobFilter
from visionjobs.jobs import Image, Job, JobSpec, JobState, JobView, Result
from visionjobs.keys import AuditEntry, JobLink, Key, NewKey, Purged, Role
from visionjobs.lanes import Lane
from visionjobs.loop_thread import LoopThread
from visionjobs.retrying import OnRetry
from visionjobs.tls import Tls
from visionjobs.usage import UsageRow

Answer = TypeVar("Answer")
Item = TypeVar("Item")


class Client:
    """As `AsyncClient`, method for method, for ordinary code; may be used by many threads at once.

    `close` it, or use it as a `with`. `on_retry` is called on the client's own thread.
    """

    def __init__(
        self,
        address: str | None = None,
        api_key: str | None = None,
        *,
        tls: Tls | bool | None = None,
        insecure: bool = False,
        timeout: timedelta = timedelta(seconds=30),
        on_retry: OnRetry | None = None,
    ) -> None:
        def make() -> AsyncClient:
            return AsyncClient(address, api_key, tls=tls, insecure=insecure, timeout=timeout, on_retry=on_retry)

        self._loop = LoopThread()
        try:
            self._client = self._run(_made(make))
        except BaseException:
            self._loop.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End running calls, close the connection and end the thread."""
        if self._loop.is_running:
            self._run(self._client.close())
            self._loop.stop()

    def submit(self, spec: JobSpec, *, request_id: str | None = None) -> Job:
        """See `AsyncClient.submit`."""
        return self._run(self._client.submit(spec, request_id=request_id))

    def submit_many(self, specs: Iterable[JobSpec], *, request_ids: Iterable[str] | None = None) -> tuple[Job, ...]:
        """See `AsyncClient.submit_many`."""
        return self._run(self._client.submit_many(specs, request_ids=request_ids))

    def upload_image(self, image: bytes | str | PathLike[str], *, mime_type: str = "") -> Image:
        """See `AsyncClient.upload_image`."""
        return self._run(self._client.upload_image(image, mime_type=mime_type))

    def get(self, job_id: str, *, view: JobView = JobView.FULL) -> Job:
        """See `AsyncClient.get`."""
        return self._run(self._client.get(job_id, view=view))

    def batch_get(self, job_ids: Iterable[str], *, view: JobView = JobView.BASIC) -> tuple[Job, ...]:
        """See `AsyncClient.batch_get`."""
        return self._run(self._client.batch_get(job_ids, view=view))

    def list(
        self,
        *,
        user_id: str = "",
        states: Iterable[JobState] = (),
        labels: Mapping[str, str] | None = None,
        view: JobView = JobView.BASIC,
        page_size: int = 0,
    ) -> Iterator[Job]:
        """See `AsyncClient.list`."""
        return self._iterate(
            self._client.list(user_id=user_id, states=states, labels=labels, view=view, page_size=page_size)
        )

    def watch(self, job_id: str, *, view: JobView = JobView.BASIC) -> Iterator[Job]:
        """See `AsyncClient.watch`."""
        return self._iterate(self._client.watch(job_id, view=view))

    def watch_many(
        self, job_ids: Iterable[str] = (), *, labels: Mapping[str, str] | None = None, view: JobView = JobView.BASIC
    ) -> Iterator[Job]:
        """See `AsyncClient.watch_many`."""
        return self._iterate(self._client.watch_many(job_ids, labels=labels, view=view))

    def result(self, job_id: str, *, within: timedelta | None = None) -> Result:
        """See `AsyncClient.result`."""
        return self._run(self._client.result(job_id, within=within))

    def submit_and_wait(
        self, spec: JobSpec, *, request_id: str | None = None, within: timedelta | None = None
    ) -> Result:
        """See `AsyncClient.submit_and_wait`."""
        return self._run(self._client.submit_and_wait(spec, request_id=request_id, within=within))

    def cancel(self, job_id: str) -> Job:
        """See `AsyncClient.cancel`."""
        return self._run(self._client.cancel(job_id))

    def retry(self, job_id: str, *, request_id: str | None = None) -> Job:
        """See `AsyncClient.retry`."""
        return self._run(self._client.retry(job_id, request_id=request_id))

    def cancel_jobs(self, job_filter: JobFilter, *, dry_run: bool = False) -> int:
        """See `AsyncClient.cancel_jobs`."""
        return self._run(self._client.cancel_jobs(job_filter, dry_run=dry_run))

    def retry_jobs(self, job_filter: JobFilter, *, dry_run: bool = False) -> int:
        """See `AsyncClient.retry_jobs`."""
        return self._run(self._client.retry_jobs(job_filter, dry_run=dry_run))

    def list_lanes(self) -> tuple[Lane, ...]:
        """See `AsyncClient.list_lanes`."""
        return self._run(self._client.list_lanes())

    def update_lane(
        self,
        lane: str,
        *,
        requests_per_minute: int | None = None,
        input_tokens_per_minute: int | None = None,
        requests_per_day: int | None = None,
        max_in_flight: int | None = None,
        dollars_per_10_minutes: float | None = None,
    ) -> Lane:
        """See `AsyncClient.update_lane`."""
        return self._run(
            self._client.update_lane(
                lane,
                requests_per_minute=requests_per_minute,
                input_tokens_per_minute=input_tokens_per_minute,
                requests_per_day=requests_per_day,
                max_in_flight=max_in_flight,
                dollars_per_10_minutes=dollars_per_10_minutes,
            )
        )

    def pause_lane(self, lane: str) -> tuple[Lane, ...]:
        """See `AsyncClient.pause_lane`."""
        return self._run(self._client.pause_lane(lane))

    def resume_lane(self, lane: str) -> tuple[Lane, ...]:
        """See `AsyncClient.resume_lane`."""
        return self._run(self._client.resume_lane(lane))

    def reset_breaker(self, lane: str) -> Lane:
        """See `AsyncClient.reset_breaker`."""
        return self._run(self._client.reset_breaker(lane))

    def set_accepting(self, accepting: bool) -> bool:  # noqa: FBT001 - as in `AsyncClient`
        """See `AsyncClient.set_accepting`."""
        return self._run(self._client.set_accepting(accepting))

    def create_key(
        self,
        client_id: str,
        role: Role,
        *,
        max_priority: int | None = None,
        submissions_per_second: float | None = None,
        max_queued_jobs: int | None = None,
    ) -> NewKey:
        """See `AsyncClient.create_key`."""
        return self._run(
            self._client.create_key(
                client_id,
                role,
                max_priority=max_priority,
                submissions_per_second=submissions_per_second,
                max_queued_jobs=max_queued_jobs,
            )
        )

    def list_keys(self) -> tuple[Key, ...]:
        """See `AsyncClient.list_keys`."""
        return self._run(self._client.list_keys())

    def rotate_key(self, key_id: str, *, overlap: timedelta | None = None) -> NewKey:
        """See `AsyncClient.rotate_key`."""
        return self._run(self._client.rotate_key(key_id, overlap=overlap))

    def revoke_key(self, key_id: str) -> Key:
        """See `AsyncClient.revoke_key`."""
        return self._run(self._client.revoke_key(key_id))

    def purge_user(self, client_id: str, user_id: str) -> Purged:
        """See `AsyncClient.purge_user`."""
        return self._run(self._client.purge_user(client_id, user_id))

    def audit(self, *, page_size: int = 0) -> Iterator[AuditEntry]:
        """See `AsyncClient.audit`."""
        return self._iterate(self._client.audit(page_size=page_size))

    def get_usage(self, from_day: date, to_day: date, *, group_by: Iterable[str] = ()) -> tuple[UsageRow, ...]:
        """See `AsyncClient.get_usage`."""
        return self._run(self._client.get_usage(from_day, to_day, group_by=group_by))

    def list_alerts(self, *, include_ended: bool = False) -> tuple[Alert, ...]:
        """See `AsyncClient.list_alerts`."""
        return self._run(self._client.list_alerts(include_ended=include_ended))

    def job_link(self, job_id: str, *, lifetime: timedelta | None = None) -> JobLink:
        """See `AsyncClient.job_link`."""
        return self._run(self._client.job_link(job_id, lifetime=lifetime))

    def _iterate(self, items: AsyncGenerator[Item, None]) -> Iterator[Item]:
        try:
            while (item := self._run(_next(items))) is not None:
                yield item
        except GeneratorExit:
            # The consumer stopped early. After an error or an interruption the generator has ended by itself.
            if self._loop.is_running:
                self._run(items.aclose())
            raise

    def _run(self, call: Coroutine[Any, Any, Answer]) -> Answer:
        return self._loop.run(call)


async def _made(make: Callable[[], AsyncClient]) -> AsyncClient:
    return make()


async def _next(items: AsyncGenerator[Item, None]) -> Item | None:
    return await anext(items, None)
