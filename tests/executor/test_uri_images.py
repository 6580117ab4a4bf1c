"""Images from the web: real TLS servers on this machine, and the guards that keep callers from everything else."""

import asyncio
import contextlib
import ipaddress
import os
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import httpcore2
import pytest

from devkit.certificates import Authority
from executor.loop_thread import LoopThread
from executor.ports import BadImage, ImageUnavailable
from executor.uris import fetch
from executor.uris.addresses import AddressJudge
from executor.uris.connections import JudgedNetwork, NameNotFound, Resolver, SystemResolver
from executor.uris.fetch import MAX_BYTES, UriImages
from executor.uris.hosts import Hosts
from executor.uris.opening import FetchedBeside, open_uris

LOOPBACK = ipaddress.ip_network("127.0.0.1/32")
SECRET = "X-Signature=do-not-tell"

Respond = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Names:
    """A resolver that knows what it is told; the addresses of a name change with each look-up."""

    def __init__(self, **addresses: Sequence[Sequence[str]]) -> None:
        self.addresses = {name.replace("_", "."): list(answers) for name, answers in addresses.items()}
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        answers = self.addresses.get(host)
        if not answers:
            raise NameNotFound
        return answers.pop(0) if len(answers) > 1 else answers[0]


class Servers:
    """HTTPS servers on 127.0.0.1, of an authority of our own."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "ours")
        self._others = Authority(folder / "others")
        self.requests: list[bytes] = []

    @contextlib.asynccontextmanager
    async def serve(
        self, respond: Respond, *, hosts: Sequence[str] = ("images.example",), trusted: bool = True
    ) -> AsyncIterator[int]:
        """Answer each request; the value is the port."""
        issued = (self.authority if trusted else self._others).issue("-".join(hosts).replace("*", "any"), *hosts)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(issued.certificate, issued.key)

        async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                request = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(request)
                await respond(request, writer)
            writer.close()

        server = await asyncio.start_server(serve_one, "127.0.0.1", 0, ssl=context)
        async with server:
            yield server.sockets[0].getsockname()[1]

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority.file))


@pytest.fixture
def servers(tmp_path: Path) -> Servers:
    return Servers(tmp_path)


@pytest.fixture
def names() -> Names:
    return Names(images_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]])


def uris(
    servers: Servers, resolver: Resolver, *, seconds: float = 10.0, hosts: Sequence[str] = (), allowed: bool = True
) -> UriImages:
    judge = AddressJudge([LOOPBACK] if allowed else [])
    return UriImages(
        hosts=Hosts(hosts),
        network=JudgedNetwork(judge, resolver, httpcore2.AnyIOBackend()),
        tls=servers.trust(),
        seconds=seconds,
    )


def saying(status: int, body: bytes = b"", **headers: str) -> Respond:
    """Answer so."""
    lines = {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}

    async def respond(_: bytes, writer: asyncio.StreamWriter) -> None:
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + body)
        await writer.drain()

    return respond


def redirecting(targets: Mapping[str, str], otherwise: Respond) -> Respond:
    """Redirect these paths."""

    async def respond(request: bytes, writer: asyncio.StreamWriter) -> None:
        target = targets.get(request.split()[1].decode())
        await (saying(302, Location=target) if target is not None else otherwise)(request, writer)

    return respond


async def refusal(images: UriImages, uri: str) -> str:
    with pytest.raises(BadImage) as refused:
        await images.fetch(uri)
    assert SECRET not in str(refused.value)
    return str(refused.value)


async def failure(images: UriImages, uri: str) -> ImageUnavailable:
    with pytest.raises(ImageUnavailable) as failed:
        await images.fetch(uri)
    assert SECRET not in str(failed.value)
    return failed.value


async def test_an_image_is_fetched_as_it_is(servers: Servers, names: Names) -> None:
    async with servers.serve(saying(200, b"image " * 100_000)) as port:
        data = await uris(servers, names).fetch(f"https://images.example:{port}/a%20b.png?{SECRET}#top")

    assert data == b"image " * 100_000
    head, _, rest = servers.requests[0].decode().partition("\r\n")
    assert head == f"GET /a%20b.png?{SECRET} HTTP/1.1"
    sent = dict(line.split(": ") for line in rest.strip().split("\r\n"))
    assert sent == {
        "Host": f"images.example:{port}",
        "Accept": "image/*",
        "Accept-Encoding": "identity",
        "User-Agent": "visionjobs-executor",
    }


async def test_a_body_without_a_length_is_fetched(servers: Servers, names: Names) -> None:
    async def chunked(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nima\r\n2\r\nge\r\n0\r\n\r\n")
        await writer.drain()

    async with servers.serve(chunked) as port:
        assert await uris(servers, names).fetch(f"https://images.example:{port}/") == b"image"


async def test_a_redirect_is_followed_to_another_host(servers: Servers, names: Names) -> None:
    async with servers.serve(saying(200, b"image"), hosts=("other.example",)) as other:
        target = f"https://other.example:{other}/image"
        async with servers.serve(redirecting({"/a": "/b", "/b": target}, saying(404))) as port:
            assert await uris(servers, names).fetch(f"https://images.example:{port}/a") == b"image"

    assert names.asked == ["images.example", "images.example", "other.example"]


async def test_no_cookie_is_kept_for_the_next_request(servers: Servers, names: Names) -> None:
    async def respond(request: bytes, writer: asyncio.StreamWriter) -> None:
        await saying(302, Location="/b", Set_Cookie="a=b")(request, writer)

    async with servers.serve(respond) as port:
        await refusal(uris(servers, names), f"https://images.example:{port}/a")

    assert not any(b"cookie" in request.lower() for request in servers.requests)


@pytest.mark.parametrize(
    "target",
    [
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://0/",
        "https://localhost/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[64:ff9b::169.254.169.254]/",
        "https://[2002:7f00:1::]/",
        "https://[fe80::1]/",
        "https://10.0.0.1/",
        "https://100.100.100.200/",
        "https://224.0.0.1/",
    ],
)
async def test_neither_an_address_nor_a_redirect_leads_inside(servers: Servers, target: str) -> None:
    resolver = Mixed(images_example=[["127.0.0.1"]])

    class OnlyTheServer(AddressJudge):
        """Allows the one server whose name was looked up, and 127.0.0.1 by no other way."""

        def allows(self, text: str) -> bool:
            return resolver.last == "images.example" or super().allows(text)

    images = UriImages(
        hosts=Hosts(),
        network=JudgedNetwork(OnlyTheServer(), resolver, httpcore2.AnyIOBackend()),
        tls=servers.trust(),
        seconds=10,
    )
    async with servers.serve(redirecting({"/": target}, saying(404))) as port:
        words = await refusal(images, f"https://images.example:{port}/")
    direct = await refusal(images, target)
    resolver.close()

    assert words.endswith(("is not an address of the public internet.", "redirects to what is no address."))
    assert direct.endswith(("is not an address of the public internet.", "Its address is no address."))


class Mixed(Names):
    """Knows some names, and asks the machine for the others."""

    def __init__(self, **addresses: Sequence[Sequence[str]]) -> None:
        super().__init__(**addresses)
        self._system = SystemResolver()
        self.last = ""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.last = host
        return await (super().resolve(host, port) if host in self.addresses else self._system.resolve(host, port))

    def close(self) -> None:
        self._system.close()


@pytest.mark.parametrize(
    "target",
    [
        "http://images.example/",
        "ftp://images.example/",
        "file:///etc/passwd",
        "gopher://images.example/",
        "data:image/png;base64,AAAA",
        "https://user@images.example/",
        f"https://user:{SECRET}@images.example/",
        "https://images.example:0/",
        "https://images.example:99999/",
        "https://images.example:port/",
        "https://[::1/",
        "https://ima ges.example/",
        "https://images.example/" + "a" * 9_000,
        "//user@images.example/",
    ],
)
async def test_only_https_addresses_without_a_password_are_fetched(servers: Servers, names: Names, target: str) -> None:
    async with servers.serve(redirecting({"/": target}, saying(404))) as port:
        await refusal(uris(servers, names), target)
        await refusal(uris(servers, names), f"https://images.example:{port}/")

    assert len(servers.requests) <= 1


async def test_a_host_that_is_no_name_in_its_ascii_form_is_refused(servers: Servers, names: Names) -> None:
    async with servers.serve(redirecting({"/": "https://xn--..a/"}, saying(404))) as port:
        assert await refusal(uris(servers, names), "https://xn--..a/") == "Its address is no address."
        words = await refusal(uris(servers, names), f"https://images.example:{port}/")

    assert words.endswith("redirects to what is no address.")


@pytest.mark.parametrize(
    "uri", ["", "https", "https:", "https://", "https:///path", "https://:443/", "//images.example/"]
)
async def test_an_address_without_a_host_is_refused(servers: Servers, names: Names, uri: str) -> None:
    assert "no https address" in await refusal(uris(servers, names), uri)


async def test_a_name_that_changes_its_mind_is_looked_up_once(servers: Servers) -> None:
    names = Names(images_example=[["127.0.0.1"], ["169.254.169.254"]])
    async with servers.serve(saying(200, b"image")) as port:
        images = uris(servers, names)

        assert await images.fetch(f"https://images.example:{port}/") == b"image"
        assert names.asked == ["images.example"]
        assert "public" in await refusal(images, f"https://images.example:{port}/")


async def test_a_name_one_of_whose_addresses_is_inside_is_refused(servers: Servers) -> None:
    names = Names(images_example=[["8.8.8.8", "10.0.0.1"]])

    assert "public" in await refusal(uris(servers, names), "https://images.example/")


async def test_a_connection_that_ends_up_elsewhere_is_refused(servers: Servers) -> None:
    """As with a network that translates addresses."""

    class Elsewhere(httpcore2.AnyIOBackend):
        async def connect_tcp(
            self, host: str, port: int, *args: object, **kwargs: object
        ) -> httpcore2.AsyncNetworkStream:
            return await super().connect_tcp("127.0.0.1", port)

    network = JudgedNetwork(AddressJudge(), Names(images_example=[["8.8.8.8"]]), Elsewhere())
    images = UriImages(hosts=Hosts(), network=network, tls=servers.trust(), seconds=10)
    async with servers.serve(saying(200, b"image")) as port:
        assert "public" in await refusal(images, f"https://images.example:{port}/")

    assert servers.requests == []


async def test_the_next_address_is_tried_where_one_does_not_answer(servers: Servers) -> None:
    names = Names(images_example=[["127.0.0.2", "127.0.0.1"]])
    judge = AddressJudge([ipaddress.ip_network("127.0.0.0/8")])
    network = JudgedNetwork(judge, names, httpcore2.AnyIOBackend())
    images = UriImages(hosts=Hosts(), network=network, tls=servers.trust(), seconds=10)

    async with servers.serve(saying(200, b"image")) as port:
        assert await images.fetch(f"https://images.example:{port}/") == b"image"


async def test_only_allowed_hosts_are_fetched_also_by_a_redirect(servers: Servers, names: Names) -> None:
    images = uris(servers, names, hosts=("images.example", "*.cdn.example"))
    async with servers.serve(redirecting({"/": "https://other.example/"}, saying(200, b"image"))) as port:
        assert await images.fetch(f"https://IMAGES.example:{port}/a") == b"image"
        assert "allowed host" in await refusal(images, f"https://images.example:{port}/")
        assert "allowed host" in await refusal(images, f"https://other.example:{port}/")
        assert "allowed host" in await refusal(images, f"https://cdn.example:{port}/")
        assert (await failure(images, "https://a.cdn.example/")).retryable

    assert "other.example" not in names.asked


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        (404, False),
        (403, False),
        (410, False),
        (204, False),
        (206, False),
        (304, False),
        (408, True),
        (425, True),
        (429, True),
        (500, True),
        (503, True),
    ],
)
async def test_a_status_says_whether_to_ask_again(servers: Servers, names: Names, status: int, retryable: bool) -> None:
    async with servers.serve(saying(status)) as port:
        error = await failure(uris(servers, names), f"https://images.example:{port}/a.png?{SECRET}")

    assert error.retryable == retryable
    assert str(error) == f"https://images.example:{port}/a.png answered with status {status}."


async def test_an_endless_redirect_ends(servers: Servers, names: Names) -> None:
    async with servers.serve(redirecting({"/": "/"}, saying(404))) as port:
        assert "more than 5 times" in await refusal(uris(servers, names), f"https://images.example:{port}/")

    assert len(servers.requests) == 6


async def test_an_image_that_says_it_is_too_large_is_refused_at_once(servers: Servers, names: Names) -> None:
    async with servers.serve(saying(200, b"begins", Content_Length=str(MAX_BYTES + 1))) as port:
        assert "more than 20,971,520 bytes" in await refusal(uris(servers, names), f"https://images.example:{port}/")


async def test_an_image_that_turns_out_too_large_is_refused(
    servers: Servers, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MAX_BYTES", 100_000)

    async def endless(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(10_000))
            await writer.drain()

    async with servers.serve(endless) as port:
        assert "more than 100,000 bytes" in await refusal(uris(servers, names), f"https://images.example:{port}/")


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip"])
async def test_a_compressed_image_is_refused(servers: Servers, names: Names, encoding: str) -> None:
    async with servers.serve(saying(200, b"packed", Content_Encoding=encoding)) as port:
        assert "compressed" in await refusal(uris(servers, names), f"https://images.example:{port}/")


@pytest.mark.parametrize("stage", ["status", "headers", "body"])
async def test_a_server_that_trickles_does_not_outlast_the_deadline(servers: Servers, names: Names, stage: str) -> None:
    async def trickle(_: bytes, writer: asyncio.StreamWriter) -> None:
        beginning = {"status": b"", "headers": b"HTTP/1.1 200 OK\r\nA: ", "body": b"HTTP/1.1 200 OK\r\n\r\n"}[stage]
        writer.write(beginning)
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with servers.serve(trickle) as port:
        error = await failure(uris(servers, names, seconds=0.3), f"https://images.example:{port}/?{SECRET}")

    assert error.retryable
    assert str(error) == f"https://images.example:{port}/ did not give its image within 0.3 s."


async def test_a_name_server_that_does_not_answer_does_not_outlast_the_deadline(servers: Servers) -> None:
    class Silent(Names):
        async def resolve(self, host: str, port: int) -> Sequence[str]:
            await asyncio.Event().wait()
            raise AssertionError

    error = await failure(uris(servers, Silent(), seconds=0.05), "https://images.example/")

    assert "within 0.05 s" in str(error)


async def test_a_name_that_is_not_found_may_be_found_later(servers: Servers) -> None:
    error = await failure(uris(servers, Names()), f"https://nowhere.example/?{SECRET}")

    assert error.retryable
    assert str(error) == "The host of https://nowhere.example/ was not found."


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example", "nowhere.invalid"])
async def test_a_name_that_is_none_is_not_found(servers: Servers, host: str) -> None:
    resolver = SystemResolver()
    try:
        with pytest.raises((ImageUnavailable, BadImage)):
            await uris(servers, resolver).fetch(f"https://{host}/")
    finally:
        resolver.close()


@pytest.mark.parametrize(("hosts", "trusted"), [(("other.example",), True), (("images.example",), False)])
async def test_a_certificate_that_is_not_its_own_or_not_trusted_ends_it(
    servers: Servers, names: Names, hosts: Sequence[str], trusted: bool
) -> None:
    async with servers.serve(saying(200, b"image"), hosts=hosts, trusted=trusted) as port:
        error = await failure(uris(servers, names), f"https://images.example:{port}/?{SECRET}")

    assert "certificate" in str(error)
    assert servers.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: a\r\n" * 50_000,
    ],
)
async def test_a_server_that_speaks_badly_gives_nothing(servers: Servers, names: Names, answer: bytes) -> None:
    async def respond(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    async with servers.serve(respond) as port:
        assert (await failure(uris(servers, names), f"https://images.example:{port}/?{SECRET}")) is not None


async def test_a_server_that_is_not_there_may_be_there_later(servers: Servers, names: Names) -> None:
    async with servers.serve(saying(200)) as port:
        pass
    error = await failure(uris(servers, names), f"https://images.example:{port}/?{SECRET}")

    assert error.retryable
    assert str(error) == f"https://images.example:{port}/ cannot be reached."


async def test_the_environment_names_no_proxy_and_its_roots_are_trusted(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setitem(os.environ, name, "http://127.0.0.1:9")
    monkeypatch.setenv("SSL_CERT_FILE", str(servers.authority.file))

    async with (
        servers.serve(saying(200, b"image"), hosts=("localhost", "127.0.0.1")) as port,
        open_uris(seconds=10, allowed_hosts=(), allowed_networks=[LOOPBACK, ipaddress.ip_network("::1")]) as images,
    ):
        assert await images.fetch(f"https://localhost:{port}/") == b"image"
        assert await images.fetch(f"https://127.0.0.1:{port}/") == b"image"
        # In whatever notation: the certificate is for a name that is an address.
        with pytest.raises(ImageUnavailable, match="certificate"):
            await images.fetch(f"https://2130706433:{port}/")


async def test_a_cancelled_fetch_closes_its_connection(servers: Servers, names: Names) -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def respond(_: bytes, writer: asyncio.StreamWriter) -> None:
        asked.set()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        closed.set()

    async with servers.serve(respond) as port:
        task = asyncio.get_running_loop().create_task(uris(servers, names).fetch(f"https://images.example:{port}/"))
        await asked.wait()
        task.cancel()
        await closed.wait()

    assert task.cancelled()


async def test_images_are_fetched_beside_the_loop_of_their_caller() -> None:
    class Threads:
        async def fetch(self, uri: str) -> bytes:
            return f"{uri} by {threading.current_thread().name}".encode()

    async with LoopThread(name="fetcher") as thread:
        assert await FetchedBeside(Threads(), thread).fetch("https://a") == b"https://a by fetcher"
