"""What stored outcomes say beyond their jobs: of schemas and images that are refused, and of models that others answer for.

It is noted after the outcomes are acknowledged, by a loop of its own: to know whose they were takes a query, that of the
many plain successes nobody makes. What is not noted in time is forgotten; the next outcome says it again.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from policies.model_versions import is_rerouted
from runtime import logs
from scheduler.alerts import Alerts
from scheduler.errors import StoreUnavailable
from scheduler.jobs import JobSpec
from scheduler.outcomes import Failed, Outcome, Succeeded
from scheduler.refusals import Refusals

MAX_WAITING = 1_000
_MAX_BATCH = 100

_log = logs.get_logger(__name__)


class SpecStore(Protocol):
    """Knows whose jobs are, and what they ask for."""

    async def specs_of(self, job_ids: Collection[str]) -> Mapping[str, tuple[str, JobSpec]]: ...


class Findings:
    """Takes stored outcomes, and notes what they say.

    `models` are all names of models that are known, so that the answer of another one is not taken for the asked one's.
    """

    def __init__(self, *, store: SpecStore, refusals: Refusals, alerts: Alerts, models: Collection[str]) -> None:
        self._store = store
        self._refusals = refusals
        self._alerts = alerts
        self._models = frozenset(models)
        self._waiting: deque[Outcome] = deque(maxlen=MAX_WAITING)
        self._arrived = asyncio.Event()

    def add(self, outcomes: Collection[Outcome]) -> None:
        """Take outcomes that are stored, each one once; usually none of them has anything to say."""
        found = [outcome for outcome in outcomes if self._has_news(outcome)]
        if found:
            self._waiting.extend(_without_answer(outcome) for outcome in found)
            self._arrived.set()

    async def run(self) -> None:
        """Note what was found until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(_MAX_BATCH, len(self._waiting)))]
                await self._note_models(batch)
                await self._note_refusals([each for each in batch if self._refusals.wants(each, each.lane)])

    def _has_news(self, outcome: Outcome) -> bool:
        return (
            self._is_rerouted(outcome)
            or self._alerts.concerns(outcome.lane)
            or self._refusals.wants(outcome, outcome.lane)
        )

    def _is_rerouted(self, outcome: Outcome) -> bool:
        asked, version = outcome.asked_model, outcome.model_version
        return bool(asked) and asked != version and is_rerouted(asked, version, self._models)

    async def _note_models(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if self._is_rerouted(outcome):
                await self._alerts.model_rerouted(outcome.lane, outcome.asked_model, outcome.model_version)
            elif outcome.lane and outcome.model_version:
                await self._alerts.model_answered(outcome.lane)

    async def _note_refusals(self, outcomes: Sequence[Outcome]) -> None:
        if not outcomes:
            return
        try:
            specs = await self._store.specs_of({outcome.attempt_id.job_id for outcome in outcomes})
        except StoreUnavailable as error:
            _log.warning("refusals_not_noted", outcomes=len(outcomes), error=str(error))
            return
        for outcome in outcomes:
            if known := specs.get(outcome.attempt_id.job_id):
                await self._refusals.note(outcome, *known)


def _without_answer(outcome: Outcome) -> Outcome:
    """Return what is needed of an outcome: not the answer, which may be large."""
    match outcome.verdict:
        case Succeeded():
            return replace(outcome, verdict=Succeeded(output_json=""))
        case Failed() as failed:
            return replace(outcome, verdict=replace(failed, raw_answer=""))
        case _:
            return outcome
