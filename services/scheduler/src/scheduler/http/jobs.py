"""`GET /jobs/{job_id}`: one job, for a key of its client or for a link that was made for it.

A key sees all of a job. A link may have been passed on, so its holder sees neither prompt, system instruction nor
schema, nor the answers that could not be used. Browsers get a page, everybody else the job as protobuf's JSON mapping writes it.
"""

from collections.abc import Callable
from typing import Protocol

from google.protobuf import json_format
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from scheduler import wire
from scheduler.callers import Caller, Role
from scheduler.errors import InvalidRequest, RoleMissing, SchedulerError, Violation
from scheduler.http.page import Pages
from scheduler.http.refusals import Refusal, refusal_of
from scheduler.job_ids import normalised
from scheduler.jobs import Job
from scheduler.links import JobLookup

_READERS = (Role.ADMIN, Role.CLIENT)


class Authenticator(Protocol):
    """Knows the keys."""

    async def authenticate_after_look(self, secret: str | None) -> Caller:
        """Return who sent this. Raises KeyMissing, KeyInvalid, StoreUnavailable."""
        ...


class LinkReader(Protocol):
    """Knows the links."""

    async def client_of(self, link: str, job_id: str) -> str:
        """Return the client whose job the link shows. Raises LinkInvalid, LinkExpired, StoreUnavailable."""
        ...


class JobEndpoint:
    """Answers for one job. `on_denied` gets the reason each time that somebody may not see it."""

    def __init__(
        self,
        *,
        jobs: JobLookup,
        keys: Authenticator,
        links: LinkReader,
        pages: Pages,
        on_denied: Callable[[str], None],
    ) -> None:
        self._jobs = jobs
        self._keys = keys
        self._links = links
        self._pages = pages
        self._on_denied = on_denied

    async def answer(self, request: Request) -> Response:
        """Return the job, or why not."""
        as_page = _wants_page(request)
        try:
            job, full = await self._seen(request)
        except SchedulerError as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            if refusal.is_denial:
                self._on_denied(refusal.reason)
            return self._refused(refusal, as_page=as_page)
        if as_page:
            return HTMLResponse(self._pages.job(job, full=full))
        message = wire.job_to_proto(job, full=full, attempts=True, raw_answers=full)
        text = json_format.MessageToJson(message, indent=2, ensure_ascii=False)
        return Response(f"{text}\n", media_type="application/json")

    async def _seen(self, request: Request) -> tuple[Job, bool]:
        """Return the job, and whether its prompt and schema may be seen, too."""
        job_id = normalised(request.path_params["job_id"])
        if job_id is None:
            raise InvalidRequest([Violation("job_id", "is not a job id")])
        key, link = _bearer(request), request.query_params.get("link")
        if key is None and link is not None:
            client_id = await self._links.client_of(link, job_id)
        else:
            client_id = await self._client_of(key)
        job = await self._jobs.job(client_id, job_id, attempts=True)
        return job, key is not None or link is None

    async def _client_of(self, key: str | None) -> str:
        caller = await self._keys.authenticate_after_look(key)
        if caller.role is not None and caller.role not in _READERS:
            raise RoleMissing(caller.role.name, [role.name for role in _READERS])
        return caller.client_id

    def _refused(self, refusal: Refusal, *, as_page: bool) -> Response:
        headers = dict(refusal.headers)
        if as_page:
            return HTMLResponse(self._pages.refusal(refusal), refusal.status, headers)
        error = {"code": refusal.status, "reason": refusal.reason, "message": refusal.message}
        return JSONResponse({"error": error}, refusal.status, headers)


def _bearer(request: Request) -> str | None:
    """Return the key; credentials of another scheme are a proxy's business."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def _wants_page(request: Request) -> bool:
    """Say whether the caller names HTML before JSON, as browsers do."""
    accept = request.headers.get("accept", "").lower()
    html, json = accept.find("text/html"), accept.find("application/json")
    return html >= 0 and (json < 0 or html < json)
