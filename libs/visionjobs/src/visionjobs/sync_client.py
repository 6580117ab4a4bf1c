"""The client for programs without an event loop: it drives the asynchronous one on a thread of its own."""

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Mapping
from datetime import timedelta
from os import PathLike
from types import TracebackType
from typing import Any, Self, TypeVar

from visionjobs.client import AsyncClient
from visionjobs.jobs import Image, Job, JobSpec, JobState, JobView, Result
from visionjobs.retrying import OnRetry

Answer = TypeVar("Answer")


class Client:
    """As `AsyncClient`, method for method, for ordinary code; may be used by many threads at once.

    `close` it, or use it as a `with`. `on_retry` is called on the client's own thread.
    """

    def __init__(
        self,
        address: str | None = None,
        api_key: str | None = None,
        *,
        timeout: timedelta = timedelta(seconds=30),
        on_retry: OnRetry | None = None,
    ) -> None:
        self._loop = _LoopThread()
        try:
            self._client = self._run(_made(lambda: AsyncClient(address, api_key, timeout=timeout, on_retry=on_retry)))
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

    def _iterate(self, jobs: AsyncGenerator[Job, None]) -> Iterator[Job]:
        try:
            while (job := self._run(_next(jobs))) is not None:
                yield job
        except GeneratorExit:
            # The consumer stopped early. After an error or an interruption the generator has ended by itself.
            if self._loop.is_running:
                self._run(jobs.aclose())
            raise

    def _run(self, call: Coroutine[Any, Any, Answer]) -> Answer:
        return self._loop.run(call)


async def _made(make: Callable[[], AsyncClient]) -> AsyncClient:
    return make()


async def _next(jobs: AsyncGenerator[Job, None]) -> Job | None:
    return await anext(jobs, None)


class _LoopThread:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        started: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = (
            concurrent.futures.Future()
        )
        # A daemon, so that a program that forgets to close its client can still end.
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._live(started)), name="visionjobs-client", daemon=True
        )
        self._thread.start()
        self._loop, self._end = started.result()

    @staticmethod
    async def _live(started: "concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]") -> None:
        end = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), end))
        await end.wait()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive() and not self._end.is_set()

    def run(self, call: Coroutine[Any, Any, Answer]) -> Answer:
        """Run the call on the loop and wait for it; an interruption of the wait ends the call too."""
        if not self.is_running:
            call.close()
            raise RuntimeError("The client is closed.")
        running = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return running.result()
        except BaseException:
            running.cancel()
            raise

    def stop(self) -> None:
        """End the loop with everything that still runs on it."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
