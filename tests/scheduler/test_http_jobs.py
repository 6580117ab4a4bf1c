import dataclasses
import datetime
import json
from collections.abc import AsyncIterator

import httpx2
import pytest
from prometheus_client import CollectorRegistry, Gauge
from stores import SPEC, FakeTime

from scheduler.callers import ANYBODY, Caller, Role
from scheduler.errors import JobNotFound, KeyInvalid, KeyMissing, StoreUnavailable
from scheduler.http.app import application
from scheduler.jobs import (
    Attempt,
    AttemptOutcome,
    ImageRef,
    Job,
    JobError,
    JobState,
    PostProcess,
    Result,
    Stage,
    Usage,
    Wait,
    WaitReason,
)
from scheduler.links import Links

JOB_ID = "01990000-0000-7000-8000-000000000001"
OTHER_JOB_ID = "01990000-0000-7000-8000-000000000002"
UNKNOWN = "01990000-0000-7000-8000-00000000ffff"
HOSTILE = "<script>alert(1)</script>\"'&"
PROMPT = "What the prompt says"
SYSTEM = "What the system instruction says"
HTML = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
SECOND = datetime.timedelta(seconds=1)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


class Keys:
    """A key for each role; `is_open` until there are any."""

    def __init__(self) -> None:
        self.is_open = False
        self.away = False
        self._callers = {
            "shop-client": Caller(client_id="shop", role=Role.CLIENT, key_id="1"),
            "shop-admin": Caller(client_id="shop", role=Role.ADMIN, key_id="2"),
            "shop-executor": Caller(client_id="shop", role=Role.EXECUTOR, key_id="3"),
            "bank-client": Caller(client_id="bank", role=Role.CLIENT, key_id="4"),
            "bank-admin": Caller(client_id="bank", role=Role.ADMIN, key_id="5"),
        }

    async def authenticate_after_look(self, secret: str | None) -> Caller:
        if self.away:
            raise StoreUnavailable("password=hunter2")
        if self.is_open:
            return ANYBODY
        if secret is None:
            raise KeyMissing
        if secret not in self._callers:
            raise KeyInvalid
        return self._callers[secret]


class Jobs:
    """Jobs by id; away when told to. Keeps the secret of links, too."""

    def __init__(self, time: FakeTime) -> None:
        self.away = False
        self.jobs = {JOB_ID: finished(time)}

    async def job(self, client_id: str, job_id: str, *, attempts: bool) -> Job:
        if self.away:
            raise StoreUnavailable("password=hunter2")
        job = self.jobs.get(job_id)
        if job is None or job.client_id != client_id:
            raise JobNotFound(job_id)
        return job if attempts else dataclasses.replace(job, attempts=())

    async def signing_secret(self, name: str) -> bytes:
        return name.encode()


def finished(time: FakeTime) -> Job:
    now = time.now()
    usage = Usage(input_tokens=1_200, output_tokens=34, image_tokens=1_100)
    spec = dataclasses.replace(
        SPEC, prompt=PROMPT, system_instruction=SYSTEM, schema_json='{"type":"object","title":"The schema"}'
    )
    attempt = Attempt(
        attempt=1,
        step=1,
        executor_id="executor-1",
        start_time=now - 9 * SECOND,
        finish_time=now - 5 * SECOND,
        outcome=AttemptOutcome.SUCCEEDED,
        error=None,
        usage=usage,
        cost_usd=0.0021,
        model_version="gemini-3.8-flash-001",
        stage_seconds={Stage.GEMINI_ANALYZING: 3.5},
    )
    return Job(
        job_id=JOB_ID,
        client_id="shop",
        spec=spec,
        traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01",
        state=JobState.SUCCEEDED,
        create_time=now - 10 * SECOND,
        attempt=1,
        start_time=now - 9 * SECOND,
        finish_time=now - 5 * SECOND,
        executor_id="executor-1",
        result=Result(
            output_json='{"total": 12345678901234567890, "what": "cup"}',
            model_version="gemini-3.8-flash-001",
            usage=usage,
            cost_usd=0.0021,
            cached=False,
            stage_seconds=attempt.stage_seconds,
        ),
        attempts=(attempt,),
        cost_usd=0.0021,
    )


class Port:
    """The HTTP port of a scheduler that has one job, and its fakes."""

    def __init__(self) -> None:
        self.time = FakeTime()
        self.keys = Keys()
        self.jobs = Jobs(self.time)
        self.links = Links(store=self.jobs, jobs=self.jobs, time=self.time, public_url="http://port")
        self.registry = CollectorRegistry()
        self.denied: list[str] = []
        app = application(
            jobs=self.jobs,
            keys=self.keys,
            links=self.links,
            time=self.time,
            registry=self.registry,
            on_denied=self.denied.append,
        )
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://port")

    async def link(self, *, lifetime: datetime.timedelta | None = None) -> str:
        url, _ = await self.links.create("shop", JOB_ID, lifetime)
        return url

    async def get(self, path: str, headers: dict[str, str] | None = None) -> httpx2.Response:
        return await self.client.get(path, headers=headers or {})

    async def page(self, job: Job) -> str:
        self.jobs.jobs[JOB_ID] = job
        answer = await self.get(f"/jobs/{JOB_ID}", bearer("shop-client") | HTML)
        assert answer.status_code == 200
        return answer.text


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    made = Port()
    async with made.client:
        yield made


def reason(answer: httpx2.Response) -> str:
    error = answer.json()["error"]
    assert error["code"] == answer.status_code
    assert error["message"]
    return str(error["reason"])


@pytest.mark.parametrize("key", ["shop-client", "shop-admin"])
async def test_a_key_of_the_client_sees_all_of_a_job(port: Port, key: str) -> None:
    answer = await port.get(f"/jobs/{JOB_ID}", bearer(key))

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    job = answer.json()
    assert (job["jobId"], job["state"], job["clientId"]) == (JOB_ID, "JOB_STATE_SUCCEEDED", "shop")
    assert job["spec"]["prompt"] == PROMPT
    assert job["result"]["usage"]["inputTokens"] == "1200"
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["SUCCEEDED"]


async def test_a_link_shows_result_and_attempts_but_not_what_was_asked(port: Port) -> None:
    url = await port.link()

    job = (await port.get(url)).json()
    page = (await port.get(url, HTML)).text

    assert json.loads(job["result"]["outputJson"])["what"] == "cup"
    assert len(job["attempts"]) == 1
    assert job["spec"].keys().isdisjoint({"prompt", "systemInstruction", "responseSchema", "responseSchemaJson"})
    assert "cup" in page
    for secret in (PROMPT, SYSTEM, "The schema"):
        assert secret not in page
        assert secret not in json.dumps(job)


def of_two_steps(job: Job) -> Job:
    """Return the job with a second step, a useless answer, a call without one, and an image elsewhere."""
    attempt = dataclasses.replace(
        job.attempts[0],
        step=2,
        outcome=AttemptOutcome.FAILED,
        model="deepseek-v4-flash",
        flaw="SCHEMA_MISMATCH",
        output_path="items[0].total",
        raw_answer="RAW ANSWER",
        service_tier="FLEX",
    )
    spec = dataclasses.replace(
        job.spec,
        images=(ImageRef(sha256="", mime_type="image/png", size=0, uri="https://example.com/a.png?signature=SECRET"),),
        post_process=PostProcess(
            model="deepseek-v4-flash",
            prompt="SECOND PROMPT",
            schema_json='{"title": "SECOND SCHEMA"}',
            schema_is_struct=False,
        ),
    )
    lost = dataclasses.replace(attempt, attempt=2, outcome=AttemptOutcome.LOST, unanswered=True, raw_answer="")
    return dataclasses.replace(job, step=2, spec=spec, attempts=(attempt, lost), cost_usd=0.0042)


async def test_a_page_says_of_each_attempt_its_step_cost_tier_and_what_was_wrong(port: Port) -> None:
    page = await port.page(of_two_steps(port.jobs.jobs[JOB_ID]))

    for shown in (
        "deepseek/deepseek-v4-flash",
        "Attempt 1, step 2: failed",
        "schema mismatch",
        "items[0].total",
        "RAW ANSWER",
        "flex",
        "SECOND PROMPT",
        "SECOND SCHEMA",
        "$0.0042; 1 call was never answered and may have been billed",
        "unknown: the call was sent and never answered, and may have been billed",
        "image/png https://example.com/a.png",
    ):
        assert shown in page
    assert "SECRET" not in page


async def test_a_link_shows_nothing_of_a_second_step_but_that_it_is_there(port: Port) -> None:
    port.jobs.jobs[JOB_ID] = of_two_steps(port.jobs.jobs[JOB_ID])
    url = await port.link()

    job = (await port.get(url)).json()
    page = (await port.get(url, HTML)).text

    assert job["spec"]["postProcess"] == {"model": "deepseek-v4-flash"}
    assert job["spec"]["images"] == [{"uri": "https://example.com/a.png", "mimeType": "image/png"}]
    assert job["attempts"][0]["outputPath"] == "items[0].total"
    for secret in ("SECRET", "SECOND", "RAW ANSWER"):
        assert secret not in page
        assert secret not in json.dumps(job)


async def test_a_key_sees_the_answers_that_could_not_be_used(port: Port) -> None:
    port.jobs.jobs[JOB_ID] = of_two_steps(port.jobs.jobs[JOB_ID])

    job = (await port.get(f"/jobs/{JOB_ID}", bearer("shop-client"))).json()

    assert job["attempts"][0]["rawAnswer"] == "RAW ANSWER"
    assert job["spec"]["images"][0]["uri"].endswith("?signature=SECRET")
    assert job["costUsd"] == 0.0042


async def test_a_running_second_step_is_told(port: Port) -> None:
    job = of_two_steps(port.jobs.jobs[JOB_ID])
    running = dataclasses.replace(
        job, state=JobState.RUNNING, result=None, finish_time=None, stage=Stage.DEEPSEEK_ANALYZING, attempt=3
    )

    assert "Step 2 of 2, attempt 3: DeepSeek is analyzing" in await port.page(running)


async def test_a_browser_with_a_key_sees_all_of_a_job(port: Port) -> None:
    page = await port.page(port.jobs.jobs[JOB_ID])

    for shown in (JOB_ID, "SUCCEEDED", PROMPT, SYSTEM, "The schema", "12345678901234567890", "1,200 in", "$0.0021"):
        assert shown in page
    assert "10 seconds ago" in page


async def test_everybody_sees_the_anonymous_clients_jobs_while_there_are_no_keys(port: Port) -> None:
    port.keys.is_open = True
    port.jobs.jobs[JOB_ID] = dataclasses.replace(port.jobs.jobs[JOB_ID], client_id=ANYBODY.client_id)

    answer = await port.get(f"/jobs/{JOB_ID}")

    assert answer.status_code == 200
    assert answer.json()["spec"]["prompt"] == PROMPT


@pytest.mark.parametrize("headers", [{}, {"authorization": "Basic c2hvcDpzaG9w"}, {"authorization": "shop-client"}])
async def test_without_key_or_link_nobody_sees_a_job(port: Port, headers: dict[str, str]) -> None:
    answer = await port.get(f"/jobs/{JOB_ID}", headers)

    assert (answer.status_code, reason(answer)) == (401, "KEY_MISSING")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert port.denied == ["KEY_MISSING"]


async def test_a_key_that_does_not_work_is_refused_even_with_a_good_link(port: Port) -> None:
    for path in (f"/jobs/{JOB_ID}", await port.link()):
        answer = await port.get(path, bearer("nonsense"))
        assert (answer.status_code, reason(answer)) == (401, "KEY_INVALID")
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert port.denied == ["KEY_INVALID"] * 2


async def test_an_executors_key_sees_no_job(port: Port) -> None:
    answer = await port.get(f"/jobs/{JOB_ID}", bearer("shop-executor"))

    assert (answer.status_code, reason(answer)) == (403, "ROLE_MISSING")
    assert port.denied == ["ROLE_MISSING"]


@pytest.mark.parametrize("key", ["bank-client", "bank-admin"])
@pytest.mark.parametrize("accept", ["application/json", "text/html"])
async def test_another_clients_job_looks_like_one_that_does_not_exist(port: Port, key: str, accept: str) -> None:
    headers = bearer(key) | {"accept": accept}
    others = await port.get(f"/jobs/{JOB_ID}", headers)
    unknown = await port.get(f"/jobs/{UNKNOWN}", headers)

    assert others.status_code == unknown.status_code == 404
    assert others.text == unknown.text.replace(UNKNOWN, JOB_ID)
    assert dict(others.headers) == dict(unknown.headers)


async def test_a_link_opens_no_other_job(port: Port) -> None:
    port.jobs.jobs[OTHER_JOB_ID] = dataclasses.replace(port.jobs.jobs[JOB_ID], job_id=OTHER_JOB_ID)
    url = (await port.link()).replace(JOB_ID, OTHER_JOB_ID)

    answer = await port.get(url)

    assert (answer.status_code, reason(answer)) == (403, "LINK_INVALID")
    assert port.denied == ["LINK_INVALID"]


@pytest.mark.parametrize("link", ["", "x", "a.b", "%00", "%ff%fe", "x" * 5_000])
async def test_a_forged_link_is_refused(port: Port, link: str) -> None:
    answer = await port.get(f"/jobs/{JOB_ID}?link={link}")

    assert (answer.status_code, reason(answer)) == (403, "LINK_INVALID")


async def test_an_expired_link_says_that_it_is_over(port: Port) -> None:
    url = await port.link(lifetime=SECOND)
    assert (await port.get(url)).status_code == 200

    port.time.pass_by(1)
    answer = await port.get(url)
    page = await port.get(url, HTML)

    assert (answer.status_code, reason(answer)) == (403, "LINK_EXPIRED")
    assert page.status_code == 403
    assert "The link expired at" in page.text
    assert "cup" not in page.text
    assert port.denied == ["LINK_EXPIRED"] * 2


async def test_a_link_outlives_the_want_of_keys_and_a_proxys_own_credentials(port: Port) -> None:
    url = await port.link()
    assert (await port.get(url, {"authorization": "Basic c2hvcDpzaG9w"})).status_code == 200

    port.keys.is_open = True
    assert (await port.get(url)).status_code == 200
    assert (await port.get(f"{url}x")).status_code == 403


@pytest.mark.parametrize("job_id", ["42", "%00", "%3Cscript%3E", "a" * 3_000, f"{JOB_ID}0"])
@pytest.mark.parametrize("accept", ["application/json", "text/html"])
async def test_a_malformed_id_is_refused(port: Port, job_id: str, accept: str) -> None:
    answer = await port.get(f"/jobs/{job_id}", bearer("shop-client") | {"accept": accept})

    assert answer.status_code == 400
    assert "<script>" not in answer.text


async def test_an_id_is_known_in_any_spelling(port: Port) -> None:
    url = (await port.link()).replace(JOB_ID, JOB_ID.upper().replace("-", ""))

    assert (await port.get(url)).json()["jobId"] == JOB_ID
    assert (await port.get(f"/jobs/{JOB_ID.upper()}", bearer("shop-client"))).json()["jobId"] == JOB_ID


async def test_a_database_that_is_away_is_said_without_a_word_of_its_own(port: Port) -> None:
    port.jobs.away = True
    answers = [await port.get(f"/jobs/{JOB_ID}", bearer("shop-client") | accept) for accept in ({}, HTML)]
    port.keys.away = True
    answers += [await port.get(f"/jobs/{JOB_ID}")]

    for answer in answers:
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "2"
        assert "hunter2" not in answer.text
    assert [reason(answers[0]), reason(answers[2])] == ["STORE_UNAVAILABLE"] * 2
    assert '<meta http-equiv="refresh" content="2">' in answers[1].text
    assert port.denied == []


async def test_the_next_honest_call_works_after_every_refusal(port: Port) -> None:
    for path, key in (
        (f"/jobs/{JOB_ID}", "x"),
        ("/jobs/42", "shop-client"),
        (f"/jobs/{JOB_ID}?link=x", "shop-executor"),
    ):
        assert (await port.get(path, bearer(key))).status_code >= 400
        assert (await port.get(f"/jobs/{JOB_ID}", bearer("shop-client"))).status_code == 200


async def test_nothing_of_a_job_becomes_markup(port: Port) -> None:
    job = port.jobs.jobs[JOB_ID]
    error = JobError(kind=HOSTILE, message=HOSTILE, retryable=False)
    assert job.result is not None
    hostile = dataclasses.replace(
        job,
        client_id="shop",
        executor_id=HOSTILE,
        error=error,
        retried_from=HOSTILE,
        wait=Wait(reason=WaitReason.QUOTA, message=HOSTILE),
        result=dataclasses.replace(job.result, output_json=json.dumps({HOSTILE: HOSTILE}), model_version=HOSTILE),
        attempts=(
            dataclasses.replace(
                job.attempts[0],
                error=error,
                executor_id=HOSTILE,
                model=HOSTILE,
                model_version=HOSTILE,
                flaw=HOSTILE,
                output_path=HOSTILE,
                raw_answer=HOSTILE,
                service_tier=HOSTILE,
            ),
        ),
        spec=dataclasses.replace(
            job.spec,
            user_id=HOSTILE,
            model=HOSTILE,
            prompt=HOSTILE,
            system_instruction=HOSTILE,
            schema_json=json.dumps({HOSTILE: 1}),
            labels={HOSTILE: HOSTILE},
            images=(ImageRef(sha256="", mime_type=HOSTILE, size=0, uri=HOSTILE),),
            post_process=PostProcess(
                model=HOSTILE, prompt=HOSTILE, schema_json=json.dumps({HOSTILE: 1}), schema_is_struct=False
            ),
        ),
    )

    page = await port.page(hostile)

    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 25


@pytest.mark.parametrize("output", ["{" * 5_000, '{"a":' * 3_000 + "1" + "}" * 3_000, "not JSON", '"\\u0000\\ud800"'])
async def test_output_that_cannot_be_indented_is_shown_as_it_is(port: Port, output: str) -> None:
    job = port.jobs.jobs[JOB_ID]
    assert job.result is not None

    page = await port.page(dataclasses.replace(job, result=dataclasses.replace(job.result, output_json=output)))

    assert "Result" in page


async def test_a_page_asks_again_until_the_job_is_final(port: Port) -> None:
    refresh = '<meta http-equiv="refresh" content="2">'
    job = port.jobs.jobs[JOB_ID]
    running = dataclasses.replace(
        job,
        state=JobState.RUNNING,
        result=None,
        finish_time=None,
        stage=Stage.GEMINI_ANALYZING,
        stage_start_time=port.time.now() - 75 * SECOND,
    )

    assert refresh not in await port.page(job)
    page = await port.page(running)

    assert refresh in page
    assert "Gemini is analyzing, for 1 min 15 s" in page


async def test_a_page_says_why_a_job_waits_and_until_when(port: Port) -> None:
    until = port.time.now() + datetime.timedelta(minutes=3, seconds=5)
    wait = Wait(reason=WaitReason.CIRCUIT_BREAKER, message="Five calls in a row failed.", until_time=until)
    waiting = dataclasses.replace(
        port.jobs.jobs[JOB_ID], state=JobState.QUEUED, wait=wait, result=None, finish_time=None, attempts=()
    )

    page = await port.page(waiting)

    assert "Circuit breaker" in page
    assert "Five calls in a row failed." in page
    assert f"{until:%Y-%m-%d %H:%M:%S} UTC" in page
    assert "in 3 minutes" in page


async def test_a_page_says_why_a_job_failed(port: Port) -> None:
    job = port.jobs.jobs[JOB_ID]
    error = JobError(kind="BAD_IMAGE", message="The image cannot be decoded.", retryable=False)

    page = await port.page(dataclasses.replace(job, state=JobState.FAILED, result=None, error=error))

    assert "bad image</strong>: The image cannot be decoded." in page
    assert "trying again will not help" in page


async def test_a_page_says_that_the_emulator_made_the_answer_up(port: Port) -> None:
    job = port.jobs.jobs[JOB_ID]
    assert job.result is not None
    emulated = dataclasses.replace(job, result=dataclasses.replace(job.result, model_version="gemini-emulator"))

    assert "EMULATED" not in await port.page(job)
    assert "EMULATED" in await port.page(emulated)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/json, text/html", "application/json"),
        ("text/html, application/json", "text/html; charset=utf-8"),
        (HTML["accept"], "text/html; charset=utf-8"),
    ],
)
async def test_who_names_html_first_gets_a_page(port: Port, accept: str, kind: str) -> None:
    answer = await port.get(f"/jobs/{JOB_ID}", bearer("shop-client") | {"accept": accept})

    assert answer.headers["content-type"] == kind


@pytest.mark.parametrize("path", [f"/jobs/{JOB_ID}", "/jobs/42", "/livez", "/metrics", "/nothing"])
@pytest.mark.parametrize("headers", [{}, bearer("shop-client") | HTML])
async def test_no_answer_is_kept_framed_indexed_or_told_where_it_came_from(
    port: Port, path: str, headers: dict[str, str]
) -> None:
    answer = await port.get(path, headers)

    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-robots-tag"] == "noindex, nofollow"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


async def test_a_page_needs_nothing_but_itself(port: Port) -> None:
    page = await port.page(port.jobs.jobs[JOB_ID])

    for outside in ("http://", "https://", "src=", "href=", "<link", "style=", "@import", "url("):
        assert outside not in page


async def test_what_is_not_there_is_404_and_other_methods_are_405(port: Port) -> None:
    for path in ("/", "/nothing", "/jobs", "/jobs/", f"/jobs/{JOB_ID}/", "/jobs/a/b", "/livez/"):
        assert (await port.get(path, bearer("shop-client"))).status_code == 404
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        for path in (f"/jobs/{JOB_ID}", "/livez", "/metrics"):
            answer = await port.client.request(method, path, headers=bearer("shop-client"))
            assert answer.status_code == 405
            assert JOB_ID not in answer.text


async def test_liveness_and_metrics_need_no_key(port: Port) -> None:
    port.keys.away = port.jobs.away = True
    Gauge("things", "Things.", registry=port.registry).set(3)

    live, metrics = await port.get("/livez"), await port.get("/metrics")

    assert (live.status_code, live.text) == (200, "ok\n")
    assert metrics.status_code == 200
    assert metrics.headers["content-type"].startswith("text/plain")
    assert "things 3.0" in metrics.text
