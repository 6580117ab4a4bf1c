"""Images that executors fetch: from a real TLS server, upright and whole, and from nowhere that callers must not reach."""

import asyncio
import contextlib
import hashlib
import io
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

from fleet_calls import finished, fleet_of
from PIL import Image as Pillow
from system_calls import SCHEMA, StartStack

from devkit.certificates import Authority
from visionjobs import Image, JobSpec, JobState

SIGNATURE = "X-Signature=do-not-tell"


def of_uri(prompt: str, uri: str) -> JobSpec:
    return JobSpec(user_id="e2e", images=[Image.from_uri(uri)], prompt=prompt, response_schema=SCHEMA, max_retries=0)


def lying_on_its_side() -> bytes:
    """Return a JPEG that its EXIF says to turn."""
    picture, file = Pillow.new("RGB", (60, 40), "orange"), io.BytesIO()
    exif = Pillow.Exif()
    exif[0x0112] = 6
    picture.save(file, "JPEG", exif=exif)
    return file.getvalue()


@contextlib.asynccontextmanager
async def serving(authority: Authority, files: dict[str, bytes]) -> AsyncIterator[int]:
    """Serve files by path on localhost by TLS; the value is the port."""
    issued = authority.issue("localhost", "localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(issued.certificate, issued.key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        path = request.split(b" ", 2)[1].decode().partition("?")[0]
        body = files.get(path, b"")
        status = "200 OK" if body else "302 Found\r\nLocation: https://169.254.169.254/latest/meta-data"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_an_image_of_the_web_is_fetched_turned_and_sent_and_its_signature_is_told_to_nobody(
    start_stack: StartStack, photograph: bytes, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    files = {"/plain.png": photograph, "/turned.jpg": lying_on_its_side()}
    environment = {
        "SSL_CERT_FILE": str(authority.file),
        "EXECUTOR_URI_ALLOWED_NETWORKS": "127.0.0.1/32",
        "EXECUTOR_URI_ALLOWED_HOSTS": "localhost",
    }
    async with (
        serving(authority, files) as port,
        start_stack(executors=1, environment=environment) as system,
        fleet_of(system) as fleet,
    ):
        client = fleet.clients[0]
        web = f"https://localhost:{port}"
        jobs = [
            await client.submit(of_uri(path, f"{web}{path}?{SIGNATURE}"))
            for path in ("/plain.png", "/turned.jpg", "/elsewhere")
        ]

        plain, turned, elsewhere = await finished(client, [job.job_id for job in jobs])
        bills = {bill["prompt_sha256"]: bill["images"] for bill in await fleet.emulator.bills()}

        assert [plain.state, turned.state] == [JobState.SUCCEEDED] * 2
        [sent] = bills[hashlib.sha256(b"/plain.png").hexdigest()]
        assert sent["sha256"] == hashlib.sha256(photograph).hexdigest()
        [sent] = bills[hashlib.sha256(b"/turned.jpg").hexdigest()]
        assert (sent["width"], sent["height"]) == (40, 60)
        assert elsewhere.state is JobState.FAILED
        assert elsewhere.error is not None
        assert elsewhere.error.kind == "BAD_IMAGE"
        assert elsewhere.cost_usd == 0.0
        assert len(bills) == 2
        assert SIGNATURE not in elsewhere.error.message
        logs = "".join(program.log.read_text() for program in system.programs)
        assert SIGNATURE not in logs


async def test_an_executor_reaches_no_address_of_this_machine_by_itself(
    start_stack: StartStack, photograph: bytes, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    async with (
        serving(authority, {"/plain.png": photograph}) as port,
        start_stack(executors=1, environment={"SSL_CERT_FILE": str(authority.file)}) as system,
        fleet_of(system) as fleet,
    ):
        client = fleet.clients[0]
        job = await client.submit(of_uri("Reachable?", f"https://localhost:{port}/plain.png"))

        [done] = await finished(client, [job.job_id])

        assert done.state is JobState.FAILED
        assert done.error is not None
        assert done.error.kind == "BAD_IMAGE"
        assert await fleet.emulator.calls() == []
