"""What the HTTP port answers. Read-only.

| path | who | what |
|---|---|---|
| `/livez` | anybody | the process runs and its event loop turns; readiness is the gRPC health service's business |
| `/metrics` | anybody | counts for Prometheus, none of which names a job, a client or a user |
| `/jobs/{job_id}` | key or link | one job, as JSON or as a page |
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scheduler.http.jobs import Authenticator, JobEndpoint, LinkReader
from scheduler.http.page import Pages
from scheduler.links import JobLookup
from scheduler.ports import StoreClock


def application(
    *,
    jobs: JobLookup,
    keys: Authenticator,
    links: LinkReader,
    time: StoreClock,
    registry: CollectorRegistry,
    on_denied: Callable[[str], None],
) -> Starlette:
    """Return the application.

    Args:
        jobs: What is shown.
        keys: Who may see a job of theirs.
        links: Who may see one job.
        time: Now, as jobs know it.
        registry: What `/metrics` shows.
        on_denied: Gets the reason each time that somebody may not see a job.
    """
    pages = Pages(time=time)
    endpoint = JobEndpoint(jobs=jobs, keys=keys, links=links, pages=pages, on_denied=on_denied)

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    application = Starlette(
        routes=[
            Route("/livez", _livez),
            Route("/metrics", metrics),
            Route("/jobs/{job_id}", endpoint.answer),
        ],
        middleware=[Middleware(_SafeHeaders, content_security_policy=pages.content_security_policy)],
    )
    # A redirect would repeat a link in its Location.
    application.router.redirect_slashes = False
    return application


async def _livez(request: Request) -> PlainTextResponse:
    del request
    return PlainTextResponse("ok\n")


class _SafeHeaders:
    """Lets nobody keep, frame, index or misread an answer, nor learn its address, which may be a link."""

    def __init__(self, app: ASGIApp, *, content_security_policy: str) -> None:
        self._app = app
        self._headers = {
            "cache-control": "no-store",
            "content-security-policy": content_security_policy,
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
            "x-robots-tag": "noindex, nofollow",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, send_safely)
