"""A server that speaks as much of S3 as objects need: PUT, GET and DELETE of one. It believes every signature."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ACCESS_KEY = "AKIASESAME"
_ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><AWSAccessKeyId>{key}</AWSAccessKeyId></Error>"


@dataclass
class BucketServer:
    """What is in the bucket `images`, and how the server misbehaves.

    Attributes:
        refusals: Status and code for all calls of a method.
        silent: Methods that get no answer before `released`.
    """

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    released: threading.Event = field(default_factory=threading.Event)
    called: list[str] = field(default_factory=list)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    bucket: BucketServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self._may():
            self._bucket.objects[self._key] = body
            self._answer(200)

    def do_GET(self) -> None:
        if self._may():
            found = self._bucket.objects.get(self._key)
            if found is None:
                self._refuse(404, "NoSuchKey")
            else:
                self._answer(200, found)

    def do_DELETE(self) -> None:
        if self._may():
            self._bucket.objects.pop(self._key, None)
            self._answer(204)

    @property
    def _bucket(self) -> BucketServer:
        assert isinstance(self.server, _Server)
        return self.server.bucket

    @property
    def _key(self) -> str:
        return self.path.split("?")[0].removeprefix("/images/")

    def _may(self) -> bool:
        bucket = self._bucket
        bucket.called.append(self.command)
        if self.command in bucket.silent:
            bucket.released.wait()
        if self.command in bucket.refusals:
            self._refuse(*bucket.refusals[self.command])
            return False
        if not self.path.startswith("/images/"):
            self._refuse(404, "NoSuchBucket")
            return False
        return True

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, _ERROR.format(code=code, key=ACCESS_KEY).encode())

    def _answer(self, status: int, body: bytes = b"") -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("etag", '"1"')
            self.send_header("last-modified", "Wed, 01 Jan 2025 00:00:00 GMT")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving_bucket() -> Iterator[BucketServer]:
    """Run a server while the block runs."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.bucket = bucket = BucketServer(url=f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield bucket
    finally:
        bucket.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
