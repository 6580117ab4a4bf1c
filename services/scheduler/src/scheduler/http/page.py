"""The pages that browsers get: no script, no outside resource, and nothing of a job that is not escaped."""

import base64
import datetime
import hashlib
from importlib import resources

import jinja2

from scheduler.http import wording
from scheduler.http.refusals import STORE_RETRY_SECONDS, Refusal
from scheduler.jobs import Job
from scheduler.ports import StoreClock

REFRESH_SECONDS = 2

_FILTERS = (
    wording.attempt_bill,
    wording.bill,
    wording.indented,
    wording.picture,
    wording.priority,
    wording.reason,
    wording.span,
    wording.stage,
    wording.stages,
    wording.state,
    wording.tokens,
    wording.utc,
)


class Pages:
    """Makes them.

    Attributes:
        content_security_policy: Allows the pages' own style sheet, and nothing else.
    """

    def __init__(self, *, time: StoreClock) -> None:
        templates = resources.files("scheduler.http") / "templates"
        style = (templates / "page.css").read_text()
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        self.content_security_policy = (
            f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none';"
            " frame-ancestors 'none'"
        )
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("scheduler.http"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {each.__name__: each for each in _FILTERS}
        environment.globals["style"] = style
        self._job = environment.get_template("job.html")
        self._refusal = environment.get_template("refusal.html")
        self._time = time

    def job(self, job: Job, *, full: bool) -> str:
        """Return the page of a job; without `full` it lacks what was asked, and answers that could not be used."""
        now = self._time.now()

        def distance(moment: datetime.datetime) -> str:
            return wording.distance(moment, now)

        return self._job.render(
            job=job,
            full=full,
            now=now,
            distance=distance,
            is_emulated=job.result is not None and wording.is_emulated(job.result.model_version),
            refresh=None if job.state.is_final else REFRESH_SECONDS,
        )

    def refusal(self, refusal: Refusal) -> str:
        """Return the page that says why there is no job; it tries again where that may help."""
        refresh = STORE_RETRY_SECONDS if refusal.status == 503 else None
        return self._refusal.render(refusal=refusal, refresh=refresh)
