"""Images that are named by an address: what is refused at submission, and what is taken as it is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scheduler_peers import PNG, TRACEPARENT, dial, failed, submission
from scheduler_world import World, looping
from stores import CLIENT

from devkit.virtual_time import in_virtual_time
from scheduler.drafts import ImageDraft
from scheduler.errors import InvalidRequest
from scheduler.fleet import Assignment, OutcomeAck
from scheduler.image_uri import refusal
from scheduler.jobs import ImageRef

URI = "https://images.example/a%20b.png?X-Signature=sesame&x=[1]"


@pytest.mark.parametrize(
    "uri",
    [
        URI,
        "https://images.example",
        "HTTPS://IMAGES.example/",
        "https://images.example:8443/x",
        "https://images.example./x",
        "https://xn--bcher-kva.example/x",
        "https://under_score.example/x",
        "https://1.1.1.1/x",
        "https://[2606:4700:4700::1111]:443/x",
        "https://internal/x",
        "https://images.example/" + "x" * 2_024,
    ],
)
def test_an_https_address_is_taken(uri: str) -> None:
    assert refusal(uri) is None


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("", "is required"),
        ("https://images.example/" + "x" * 2_026, "has more than 2,048 characters"),
        ("http://images.example/x", "must begin with https://"),
        ("ftp://images.example/x", "must begin with https://"),
        ("https:images.example/x", "must begin with https://"),
        ("//images.example/x", "must begin with https://"),
        ("file:///etc/passwd", "must begin with https://"),
        ("https:///x", "must name a host"),
        ("https://:443/x", "must name a host"),
        ("https://user@images.example/x", "must not name a user"),
        ("https://user:secret@images.example/x", "must not name a user"),
        ("https://images.example/x#part", "must not have a fragment"),
        ("https://images.example:0/x", "must name a port"),
        ("https://images.example:65536/x", "must name a port"),
        ("https://images.example:x/x", "must name a host"),
        ("https://bücher.example/x", "xn--"),
        ("https://images.example/a b", "characters"),
        ("https://images.example/a\n", "characters"),
        ("https://images.example/\x00", "characters"),
        ("https://images.example\\@evil.example/x", "characters"),
        ("https://-images.example/x", "must name a host"),
        ("https://images..example/x", "must name a host"),
        ("https://images%2eexample/x", "must name a host"),
        ("https://[::1", "must name a host"),
        ("https://[v1.x]/", "must name a host"),
        ("https://[fe80::1%25eth0]/", "must name a host"),
        ("https://127.0.0.1/x", "private network"),
        ("https://10.1.2.3/x", "private network"),
        ("https://169.254.169.254/latest", "private network"),
        ("https://100.64.0.1/x", "private network"),
        ("https://0.0.0.0/x", "private network"),
        ("https://224.0.1.1/x", "private network"),
        ("https://[::1]/x", "private network"),
        ("https://[::ffff:10.0.0.1]/x", "private network"),
        ("https://[64:ff9b::a9fe:a9fe]/x", "private network"),
        ("https://[2002:7f00:1::]/x", "private network"),
        ("https://[fd00::1]/x", "private network"),
        ("https://127.1/x", "in its usual form"),
        ("https://2130706433/x", "in its usual form"),
        ("https://0x7f000001/x", "in its usual form"),
        ("https://0177.0.0.1/x", "in its usual form"),
        ("https://127.0.0.1./x", "in its usual form"),
        ("https://[::g]/x", "must name a host"),
        ("https://[1:2]/x", "in its usual form"),
    ],
)
def test_another_address_is_refused_with_the_reason(uri: str, words: str) -> None:
    assert words in (refusal(uri) or "")


@given(st.text(max_size=2_100) | st.from_regex(r"https://[ -~]{0,60}", fullmatch=True))
def test_no_text_breaks_the_check_and_no_words_repeat_it(uri: str) -> None:
    words = refusal(uri)

    assert words is None or len(uri) < 8 or uri not in words


async def violations(world: World, **image: Any) -> list[str]:
    with pytest.raises(InvalidRequest) as refused:
        await world.submit.jobs(CLIENT, [submission(images=(ImageDraft(data=PNG), ImageDraft(**image)))])
    return [violation.path for violation in refused.value.violations]


@in_virtual_time
async def test_what_is_wrong_with_an_address_is_told_with_its_path() -> None:
    world = World()

    assert await violations(world, uri="http://images.example") == ["spec.images[1].uri"]
    assert await violations(world, uri=URI, mime_type="image/gif") == ["spec.images[1].mime_type"]
    assert await violations(world, uri="", mime_type="x") == ["spec.images[1].uri", "spec.images[1].mime_type"]


@in_virtual_time
async def test_an_address_is_neither_looked_up_nor_stored_and_goes_out_as_it_is() -> None:
    world = World()
    drafts = (
        ImageDraft(uri=URI, mime_type="image/JPG"),
        ImageDraft(uri="https://images.example/2"),
        ImageDraft(data=PNG),
    )
    executor = await dial(world, slots=1)

    [(_, job)] = await world.submit.jobs(CLIENT, [submission(images=drafts)])
    async with looping(world.dispatcher.run):
        [assignment] = await executor.hear(Assignment)

    assert job is not None
    assert job.spec.images[:2] == (
        ImageRef(sha256="", mime_type="image/jpeg", size=0, uri=URI),
        ImageRef(sha256="", mime_type="", size=0, uri="https://images.example/2"),
    )
    assert assignment.spec.images == job.spec.images
    assert list(assignment.images) == [job.spec.images[2].sha256]
    assert world.store.calls["find_images"] == 0


@in_virtual_time
async def test_one_named_by_its_hash_beside_an_address_is_looked_up() -> None:
    world = World()
    stored = await world.submit.image(CLIENT, PNG, "")

    [(_, job)] = await world.submit.jobs(
        CLIENT, [submission(images=(ImageDraft(uri=URI), ImageDraft(sha256=stored.sha256)))]
    )

    assert job is not None
    assert job.spec.images == (ImageRef(sha256="", mime_type="", size=0, uri=URI), stored)


@in_virtual_time
async def test_a_job_with_an_address_alone_is_done_again_without_any_stored_image() -> None:
    world = World()
    [(first, _)] = await world.submit.jobs(CLIENT, [submission(images=(ImageDraft(uri=URI),))])
    executor = await dial(world, slots=1)
    async with looping(world.dispatcher.run, world.completer.run):
        [attempt] = await executor.receive()
        await executor.tell(failed(attempt, "BLOCKED", retryable=False))
        await executor.hear(OutcomeAck)

    _, again = await world.again.job(CLIENT, first, request_id="", traceparent=TRACEPARENT)

    assert again is not None
    assert again.spec.images[0].uri == URI
