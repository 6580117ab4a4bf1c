"""Images in real worker processes: none that dies, hangs or eats too much costs another image anything."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import FORMATS, MIME_TYPES, encoded, photograph, picture, png_of

from executor.pixels import process
from executor.pixels.process import Worker, WorkerDied, WorkerLimits, WorkerNotStarted
from executor.pixels.workers import ImageWorkers, open_workers
from executor.ports import BadImage, ImageUnavailable, ModelImage


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    started = await process.start(WorkerLimits())
    yield started
    await started.stop()


@pytest.fixture
async def workers() -> AsyncIterator[ImageWorkers]:
    async with open_workers(WorkerLimits(), workers=2) as opened:
        yield opened


class Started:
    """Every worker that was started, and how its images are to go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.workers: list[Worker] = []
        self._start = process.start
        monkeypatch.setattr(process, "start", self._started)

    async def _started(self, limits: WorkerLimits) -> Worker:
        worker = await self._start(limits)
        self.workers.append(worker)
        return worker

    @property
    def alive(self) -> int:
        return sum(worker.alive for worker in self.workers)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    return Started(monkeypatch)


def status(worker: Worker) -> dict[str, str]:
    lines = Path(f"/proc/{worker.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def stopped_in_the_middle(worker: Worker) -> None:
    """Stop a worker as a decoder that hangs would be."""
    os.kill(worker.pid, signal.SIGSTOP)
    while not status(worker)["State"].startswith("T"):
        await asyncio.sleep(0)


@pytest.mark.parametrize("file_format", FORMATS)
async def test_a_sound_image_comes_back_as_it_was(workers: ImageWorkers, file_format: str) -> None:
    data = picture(file_format)

    assert await workers.prepare(data) == ModelImage(data, MIME_TYPES[file_format])


async def test_what_is_no_image_is_refused_with_a_sentence(workers: ImageWorkers) -> None:
    with pytest.raises(BadImage, match=r"^It is not a PNG, JPEG, WEBP, HEIC or HEIF image\.$"):
        await workers.prepare(b"not an image")


async def test_an_empty_image_is_refused(workers: ImageWorkers) -> None:
    with pytest.raises(BadImage, match="empty"):
        await workers.prepare(b"")


async def test_an_image_that_is_changed_comes_back_whole() -> None:
    data = encoded(photograph().resize((2_000, 1_500)), "PNG", orientation=6)

    async with open_workers(WorkerLimits(), workers=1) as workers:
        upright = await workers.prepare(data)

    assert upright.data.startswith(b"\x89PNG")
    assert upright.data.endswith(b"IEND\xaeB`\x82")


async def test_a_worker_does_many_images(workers: ImageWorkers, started: Started) -> None:
    for _ in range(5):
        for file_format in FORMATS:
            await workers.prepare(picture(file_format))

    assert len(started.workers) == 1


async def test_a_worker_that_has_done_its_share_makes_room_for_another(
    workers: ImageWorkers, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor.pixels.workers._MOST_IMAGES", 2)

    for _ in range(4):
        await workers.prepare(picture("PNG"))

    assert len(started.workers) == 2
    assert started.alive == 0


async def test_there_are_no_more_workers_than_were_asked_for(workers: ImageWorkers, started: Started) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(workers.prepare(picture("JPEG")))

    assert len(started.workers) == 2


async def test_workers_end_with_the_executor(started: Started) -> None:
    async with open_workers(WorkerLimits(), workers=1) as workers:
        await workers.prepare(picture("PNG"))
        assert started.alive == 1

    assert started.alive == 0


async def test_a_worker_knows_no_key(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "DEEPSEEK_API_KEY", "EXECUTOR_API_KEY", "HOME"):
        monkeypatch.setenv(name, "secret-of-the-executor")
    other = await process.start(WorkerLimits())

    try:
        environment = Path(f"/proc/{other.pid}/environ").read_bytes()
        assert set(environment.rstrip(b"\0").split(b"\0")) == {b"MALLOC_ARENA_MAX=1", b"LC_ALL=C.UTF-8"}
    finally:
        await other.stop()


async def test_a_worker_holds_no_file_of_the_executors(worker: Worker) -> None:
    open_files = [str(file.readlink()) for file in Path(f"/proc/{worker.pid}/fd").iterdir()]

    assert all(name.startswith("pipe:") or name == os.devnull for name in open_files)


async def test_a_worker_ends_when_the_executor_is_gone(worker: Worker) -> None:
    stdin = worker._process.stdin
    assert stdin is not None
    stdin.close()

    assert await asyncio.to_thread(worker._process.wait) == 0


async def test_an_image_whose_worker_is_killed_is_done_by_another(workers: ImageWorkers, started: Started) -> None:
    await workers.prepare(picture("PNG"))
    victim = started.workers[0]
    await stopped_in_the_middle(victim)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(workers.prepare(picture("JPEG")))
        await asyncio.sleep(0)
        os.kill(victim.pid, signal.SIGKILL)

    assert task.result().mime_type == "image/jpeg"
    assert len(started.workers) == 2


async def test_images_in_other_workers_go_on_while_one_is_killed(workers: ImageWorkers, started: Started) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(workers.prepare(picture("PNG")))
    victim, other = started.workers
    for each in (victim, other):
        await stopped_in_the_middle(each)

    async with asyncio.TaskGroup() as tasks:
        images = [tasks.create_task(workers.prepare(picture("JPEG"))) for _ in range(2)]
        await asyncio.sleep(0)
        os.kill(victim.pid, signal.SIGKILL)
        os.kill(other.pid, signal.SIGCONT)

    assert [task.result().mime_type for task in images] == ["image/jpeg"] * 2
    assert len(started.workers) == 3


async def test_a_worker_that_dies_while_it_waits_costs_the_next_image_no_try(
    workers: ImageWorkers, started: Started
) -> None:
    await workers.prepare(picture("PNG"))
    await started.workers[0].stop()

    await workers.prepare(picture("PNG"))

    assert [worker.images for worker in started.workers] == [1, 1]


async def test_an_image_that_takes_too_long_is_tried_twice_and_refused(started: Started) -> None:
    slow = png_of(16_000, 6_000, pixels=bytes(6_000 * 16_001))

    async with open_workers(WorkerLimits(seconds=0.01), workers=1) as workers:
        with pytest.raises(BadImage, match=r"the process that tried took longer than 0\.01 s, twice"):
            await workers.prepare(slow)

    assert len(started.workers) == 2
    assert started.alive == 0


async def test_an_image_that_needs_too_much_memory_is_tried_twice_and_refused(started: Started) -> None:
    large = png_of(10_000, 10_000, pixels=bytes(10_000 * 10_001))

    async with open_workers(WorkerLimits(memory_mib=80), workers=1) as workers:
        with pytest.raises(BadImage, match="the process that tried needed more memory than 80 MiB, twice"):
            await workers.prepare(large)
        assert len(started.workers) == 2

        assert (await workers.prepare(picture("PNG"))).mime_type == "image/png"


async def test_a_worker_that_uses_the_processor_for_too_long_ends_by_itself(worker: Worker) -> None:
    # As of an executor that is gone, and cannot end it.
    limits = Path(f"/proc/{worker.pid}/limits")
    assert "Max cpu time              unlimited" in limits.read_text()

    await worker.decode(picture("PNG"))

    line = next(line for line in limits.read_text().splitlines() if line.startswith("Max cpu time"))
    assert 20 <= int(line.split()[3]) <= 24


async def test_a_job_that_is_cancelled_frees_its_place(workers: ImageWorkers, started: Started) -> None:
    await workers.prepare(picture("PNG"))
    await stopped_in_the_middle(started.workers[0])
    task = asyncio.get_running_loop().create_task(workers.prepare(picture("JPEG")))
    await asyncio.sleep(0)

    task.cancel()
    await asyncio.wait([task])

    assert not started.workers[0].alive
    assert (await workers.prepare(picture("WEBP"))).mime_type == "image/webp"


async def test_a_worker_that_cannot_start_is_no_fault_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executor.pixels.process.sys.executable", "/no/such/program")

    async with open_workers(WorkerLimits(), workers=1) as workers:
        with pytest.raises(ImageUnavailable, match="No process can be started") as failed:
            await workers.prepare(picture("PNG"))

    assert failed.value.retryable


async def test_a_worker_that_ends_at_its_start_has_its_last_words_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\necho 'ImportError: no libheif' >&2\nexit 1\n")
    program.chmod(0o700)
    monkeypatch.setattr("executor.pixels.process.sys.executable", str(program))

    with pytest.raises(WorkerNotStarted, match=r"^The process ended at its start: ImportError: no libheif$"):
        await process.start(WorkerLimits())


@pytest.mark.parametrize(
    "head",
    [
        b"[]",
        b"nope",
        b"[" * 4_000,
        b'{"mime_type": 1, "refusal": "", "new_bytes": null}',
        b'{"mime_type": "image/png", "refusal": "", "new_bytes": "much"}',
        b'{"mime_type": "image/png", "refusal": "", "new_bytes": 0}',
        b'{"mime_type": "image/png", "refusal": "", "new_bytes": 99999999999}',
        bytes(5_000),
    ],
)
async def test_a_worker_that_a_hostile_image_has_taken_over_is_not_believed(
    head: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = len(head).to_bytes(4, "big") + head
    program = tmp_path / "liar"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nout = sys.stdout.buffer\nout.write(b'R')\nout.flush()\n"
        f"sys.stdin.buffer.read(4)\nout.write({reply!r})\nout.flush()\nsys.stdin.buffer.read()\n"
    )
    program.chmod(0o700)
    monkeypatch.setattr("executor.pixels.process.sys.executable", str(program))
    liar = await process.start(WorkerLimits())

    with pytest.raises(WorkerDied, match="said what it never says"):
        await liar.decode(picture("PNG"))

    assert not liar.alive


def test_workers_do_their_work_under_the_event_loop_of_production() -> None:
    async def main() -> None:
        async with open_workers(WorkerLimits(), workers=1) as workers:
            assert (await workers.prepare(picture("PNG"))).mime_type == "image/png"
            with pytest.raises(BadImage):
                await workers.prepare(b"not an image")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def test_a_worker_is_no_child_of_a_forked_executor() -> None:
    """A fork beside gRPC's threads may hang; `subprocess` needs none unless it is to run Python in the child."""
    forks: list[str] = []
    os.register_at_fork(before=lambda: forks.append("fork"))

    await (await process.start(WorkerLimits())).stop()

    assert forks == []


async def test_the_event_loop_goes_on_while_a_large_image_is_handed_over(workers: ImageWorkers) -> None:
    data = picture("PNG") + bytes(20 * 1024 * 1024)
    steps = 0

    async def count() -> None:
        nonlocal steps
        while True:
            await asyncio.sleep(0)
            steps += 1

    counting = asyncio.get_running_loop().create_task(count())
    assert (await workers.prepare(data)).data is data
    counting.cancel()

    assert steps > 20


class OneWorker:
    """A loop and a worker that outlive the examples of a property."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.workers = ImageWorkers(WorkerLimits(seconds=10), workers=1)

    def verdict(self, data: bytes) -> ModelImage | None:
        """Return the image, None for a refusal; anything else is a failure."""
        try:
            return self.loop.run_until_complete(self.workers.prepare(data))
        except BadImage:
            return None

    def close(self) -> None:
        self.loop.run_until_complete(self.workers.stop())
        self.loop.close()


@pytest.fixture(scope="module")
def one_worker() -> Iterator[OneWorker]:
    opened = OneWorker()
    yield opened
    opened.close()


@st.composite
def spoilt_images(draw: st.DrawFn) -> bytes:
    """Real images with bytes changed, taken out, repeated, or cut off."""
    data = bytearray(picture(draw(st.sampled_from(FORMATS))))
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(("flip", "remove", "repeat", "insert", "length"))):
            case "flip" if data:
                data[at] ^= draw(st.integers(1, 255))
            case "remove":
                del data[at : at + draw(st.integers(1, 40))]
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(1, 40))]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=20))
            case _:
                # What stands for a length or a size, as often as not.
                data[at : at + 4] = draw(st.sampled_from((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4))))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=spoilt_images())
def test_every_spoilt_image_gets_a_verdict(one_worker: OneWorker, data: bytes) -> None:
    image = one_worker.verdict(data)

    assert image is None or image.mime_type in MIME_TYPES.values() or image.mime_type == "image/heif"


@settings(max_examples=50, deadline=None)
@given(data=st.one_of(st.binary(max_size=300), st.binary(max_size=100).map(lambda tail: picture("HEIF")[:40] + tail)))
def test_any_bytes_get_a_verdict(one_worker: OneWorker, data: bytes) -> None:
    one_worker.verdict(data)
