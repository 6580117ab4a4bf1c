"""What the provider refuses again and again: no money and no time is spent on it, and its client is told early.

A schema that made a lane refuse several requests in a row, without a word of why, is stopped there for a while; then
each scheduler tries one job with it. An image that could not be read twice is tried no more while that is remembered.
"""

import asyncio
import contextlib
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime import logs
from runtime.clock import Clock
from scheduler import spec_json
from scheduler.errors import StoreUnavailable, Violation
from scheduler.jobs import JobSpec
from scheduler.outcomes import Failed, Outcome, Succeeded
from scheduler.ports import RefusalStore, StoreClock
from scheduler.records import Refused, RefusedKind
from scheduler.signals import Signals

REFRESH_SECONDS = 1.0
MIN_PAUSE_SECONDS = 0.2

_IMAGE_REST = datetime.timedelta(hours=24)

_log = logs.get_logger(__name__)

_Key = tuple[RefusedKind, str, str, str]
"""Kind, client, hash, lane."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalRules:
    """When to stop.

    Attributes:
        schema_failures: Refusals in a row that stop a schema.
        schema_rest: For how long.
        image_refusals: Refusals that put an image in quarantine.
    """

    schema_failures: int = 5
    schema_rest: datetime.timedelta = datetime.timedelta(hours=1)
    image_refusals: int = 2


class Refusals:
    """Knows what is refused from memory, and notes what comes in."""

    def __init__(
        self, *, store: RefusalStore, time: StoreClock, clock: Clock, signals: Signals, rules: RefusalRules
    ) -> None:
        self._store = store
        self._time = time
        self._clock = clock
        self._signals = signals
        self._rules = rules
        self._known: Mapping[_Key, Refused] = {}
        self._lanes: frozenset[str] = frozenset()
        # When this scheduler let a job try what had been stopped for its time.
        self._tried: dict[_Key, datetime.datetime] = {}
        self._woken = asyncio.Event()

    def refusal(self, client_id: str, spec: JobSpec, lane: str) -> Refused | None:
        """Return what stops a job that is about to be handed out in the lane of its step.

        None lets it go; it is then the one that tries a schema whose time is over.
        """
        if not self._known:
            return None
        for image in spec.images if lane == spec.lane else ():
            if image.sha256 and (refused := self.refusal_of_image(client_id, image.sha256)):
                return refused
        refused = self.refusal_of_schema(client_id, _schema_of(spec, lane), lane)
        if refused is not None:
            return refused
        self._try(client_id, spec, lane)
        return None

    def refusal_of_schema(self, client_id: str, schema_json: str, lane: str) -> Refused | None:
        """Return what stops a schema in a lane."""
        if not schema_json or lane not in self._lanes:
            return None
        return self._active((RefusedKind.SCHEMA, client_id, spec_json.schema_sha256(schema_json), lane))

    def refusal_of_image(self, client_id: str, sha256: str) -> Refused | None:
        """Return what stops an image, named in lower-case hex."""
        return self._active((RefusedKind.IMAGE, client_id, sha256, ""))

    def violations(self, client_id: str, spec: JobSpec, path: str, image_fields: Sequence[str]) -> list[Violation]:
        """Return what of a new spec is refused; a schema whose time is over may come.

        Args:
            client_id: Whose spec.
            spec: It is valid otherwise.
            path: Where it stands in the request.
            image_fields: For each image the field that names it.
        """
        if not self._known:
            return []
        schema = "response_schema" if spec.schema_is_struct else "response_schema_json"
        schemas = [(schema, spec.schema_json)]
        if (second := spec.post_process) is not None:
            schema = "response_schema" if second.schema_is_struct else "response_schema_json"
            schemas.append((f"post_process.{schema}", second.schema_json))
        return [
            *(
                Violation(f"{path}.{field}", _told_of_schema(refused))
                for (field, schema_json), lane in zip(schemas, spec.lanes, strict=True)
                if (refused := self.refusal_of_schema(client_id, schema_json, lane)) is not None
            ),
            *(
                Violation(f"{path}.images[{index}].{field}", _told_of_image(refused))
                for index, (image, field) in enumerate(zip(spec.images, image_fields, strict=True))
                if image.sha256 and (refused := self.refusal_of_image(client_id, image.sha256)) is not None
            ),
        ]

    def wants(self, outcome: Outcome, lane: str) -> bool:
        """Say whether `note` needs to hear of an outcome: usually nothing is to be said of it."""
        return (
            _suspects_schema(outcome)
            or _refused_image(outcome) is not None
            or (lane in self._lanes and _was_accepted(outcome))
        )

    async def note(self, outcome: Outcome, client_id: str, spec: JobSpec) -> None:
        """Note what an outcome that is stored says of its schema and its image. It may be lost if the store is away."""
        lane = spec.lanes[min(max(outcome.step, 1), len(spec.lanes)) - 1]
        try:
            if image := _refused_image(outcome):
                await self._note_image(client_id, image, spec)
            if schema_json := _schema_of(spec, lane):
                await self._note_schema(outcome, client_id, spec_json.schema_sha256(schema_json), lane)
        except StoreUnavailable as error:
            _log.warning("refusal_not_noted", lane=lane, error=str(error))

    async def _note_image(self, client_id: str, sha256: str, spec: JobSpec) -> None:
        # Of an image that was fetched nobody knows the hash before.
        if sha256 in {image.sha256 for image in spec.images}:
            message = "An image that could not be read."
            limit = self._rules.image_refusals
            self._learn(
                await self._store.note_refused(
                    RefusedKind.IMAGE, client_id, sha256, "", message, limit=limit, rest=_IMAGE_REST
                )
            )

    async def _note_schema(self, outcome: Outcome, client_id: str, sha256: str, lane: str) -> None:
        key = (RefusedKind.SCHEMA, client_id, sha256, lane)
        if _suspects_schema(outcome):
            # No word of the provider: it may quote the schema, and this outlives the job.
            message = "A schema with which the provider refused requests without saying why."
            limit, rest = self._rules.schema_failures, self._rules.schema_rest
            self._learn(await self._store.note_refused(*key, message, limit=limit, rest=rest))
        elif _was_accepted(outcome) and key in self._known:
            await self._store.note_accepted(*key)
            self._know({known: refused for known, refused in self._known.items() if known != key})
            self._signals.announce()

    async def refresh(self) -> None:
        """Look again. Raises StoreUnavailable."""
        self._know({_key(refused): refused for refused in await self._store.refused()})

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.refresh()
            except StoreUnavailable as error:
                _log.debug("refusals_not_read", error=str(error))
            await self._pause()

    def wake(self) -> None:
        """Another scheduler changed something: it may be a refusal."""
        self._woken.set()

    async def _pause(self) -> None:
        # Words of others come often under load; a look is not worth more than these.
        await self._clock.sleep(MIN_PAUSE_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REFRESH_SECONDS - MIN_PAUSE_SECONDS):
                await self._woken.wait()
        self._woken.clear()

    def _learn(self, refused: Refused) -> None:
        self._know({**self._known, _key(refused): refused})
        if refused.until is not None:
            _log.warning(
                "refused_again_and_again",
                kind=refused.kind.name,
                client_id=refused.client_id,
                sha256=refused.key,
                lane=refused.lane,
                count=refused.count,
            )
            self._signals.announce()

    def _know(self, known: Mapping[_Key, Refused]) -> None:
        self._known = known
        self._lanes = frozenset(lane for kind, _, _, lane in known if kind is RefusedKind.SCHEMA)
        self._tried = {key: tried for key, tried in self._tried.items() if key in known}

    def _active(self, key: _Key) -> Refused | None:
        refused = self._known.get(key)
        if refused is None or refused.until is None:
            return None
        return refused if refused.until > self._time.now() or self._is_being_tried(key, refused) else None

    def _is_being_tried(self, key: _Key, refused: Refused) -> bool:
        tried = self._tried.get(key)
        if tried is None or refused.until is None or tried < refused.until:
            return False
        # A job that tried and was never heard of is followed by another one.
        return self._time.now() < tried + self._rules.schema_rest

    def _try(self, client_id: str, spec: JobSpec, lane: str) -> None:
        schema_json = _schema_of(spec, lane)
        if not schema_json or lane not in self._lanes:
            return
        key = (RefusedKind.SCHEMA, client_id, spec_json.schema_sha256(schema_json), lane)
        refused = self._known.get(key)
        if refused is not None and refused.until is not None:
            self._tried[key] = self._time.now()


def _told_of_schema(refused: Refused) -> str:
    until = f"{refused.until:%Y-%m-%d %H:%M:%S} UTC" if refused.until else "later"
    return f"was refused by the provider {refused.count} times in a row; change it, or try it again after {until}"


def _told_of_image(refused: Refused) -> str:
    return f"was refused {refused.count} times, because the image cannot be read; send another one"


def _key(refused: Refused) -> _Key:
    return (refused.kind, refused.client_id, refused.key, refused.lane)


def _schema_of(spec: JobSpec, lane: str) -> str:
    """Return the schema of the step that waits in a lane; "" where its content was removed."""
    if lane == spec.lane:
        return spec.schema_json
    return spec.post_process.schema_json if spec.post_process is not None else ""


def _suspects_schema(outcome: Outcome) -> bool:
    return isinstance(outcome.verdict, Failed) and outcome.verdict.schema_suspected


def _refused_image(outcome: Outcome) -> str | None:
    match outcome.verdict:
        case Failed(error=error, image_sha256=sha256) if error.kind == "BAD_IMAGE" and sha256:
            return sha256
        case _:
            return None


def _was_accepted(outcome: Outcome) -> bool:
    """Say whether the provider took the request: it answered, however useless the answer is."""
    match outcome.verdict:
        case Succeeded():
            return True
        case Failed():
            return outcome.paid and not outcome.unanswered
        case _:
            return False
