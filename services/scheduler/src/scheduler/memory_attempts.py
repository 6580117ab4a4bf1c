"""The ended attempts of a job in the store in memory, and what they and its end add to the usage."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace

from scheduler.jobs import Attempt, AttemptOutcome, Job, JobError, Stage, model_of
from scheduler.memory_usage import MemoryUsage
from scheduler.records import AttemptRecord


@dataclass
class EndedAttempts:
    """Those of one job, by their number."""

    counts: MemoryUsage
    by_number: dict[int, Attempt]

    @property
    def cost_usd(self) -> float:
        return sum(attempt.cost_usd for attempt in self.by_number.values())

    def get(self, number: int) -> Attempt | None:
        return self.by_number.get(number)

    def keep(
        self, job: Job, record: AttemptRecord, *, start_time: datetime.datetime | None, is_wasted: bool | None = None
    ) -> None:
        """Keep what became of an attempt of the job's present step, in the place of what was kept before.

        What it cost is wasted unless it succeeded, or as `is_wasted` says.
        """
        number = record.attempt_id.attempt
        known = self.forget(job, number)
        kept = self.by_number[number] = Attempt(
            attempt=number,
            step=known.step if known else job.step,
            executor_id=known.executor_id if known else job.executor_id,
            start_time=known.start_time if known else start_time or record.finish_time,
            finish_time=record.finish_time,
            outcome=record.outcome,
            error=record.error,
            usage=record.usage,
            cost_usd=record.cost_usd,
            model_version=record.model_version,
            stage_seconds=entered(record.stage_seconds),
            model=known.model if known else model_of(job.lane),
            paid=record.paid,
            unanswered=record.unanswered,
            flaw=record.flaw,
            output_path=record.output_path,
            raw_answer=record.raw_answer,
            service_tier=record.service_tier,
        )
        if is_wasted is None:
            is_wasted = record.outcome is not AttemptOutcome.SUCCEEDED
        if kept.usage is not None or kept.cost_usd or kept.unanswered:
            self.counts.add(
                kept.finish_time.date(),
                *_whose(job, kept.model),
                usage=kept.usage,
                cost_usd=kept.cost_usd,
                wasted_usd=kept.cost_usd if is_wasted else 0.0,
                unanswered_calls=int(kept.unanswered),
            )

    def forget(self, job: Job, number: int) -> Attempt | None:
        """Return what was kept of an attempt that gave nothing, and take back that it was counted."""
        known = self.by_number.pop(number, None)
        if known is not None and (known.usage is not None or known.cost_usd or known.unanswered):
            self.counts.add(
                known.finish_time.date(),
                *_whose(job, known.model),
                usage=-known.usage if known.usage else None,
                cost_usd=-known.cost_usd,
                wasted_usd=-known.cost_usd,
                unanswered_calls=-int(known.unanswered),
            )
        return known

    def count_end(self, job: Job, now: datetime.datetime) -> None:
        """Count that the job ended in its present step."""
        self.counts.add(now.date(), *_whose(job, model_of(job.lane)), jobs=1)

    def count_as_wasted(self, job: Job, number: int, now: datetime.datetime) -> None:
        """Count what a success cost that was of no use in the end."""
        attempt = self.by_number[number]
        self.counts.add(now.date(), *_whose(job, attempt.model), wasted_usd=attempt.cost_usd)

    def purge(self) -> None:
        """Remove what they say."""
        self.by_number = {
            number: replace(attempt, error=without_message(attempt.error), raw_answer="", output_path="")
            for number, attempt in self.by_number.items()
        }


def _whose(job: Job, model: str) -> tuple[str, str, str, Mapping[str, str]]:
    return job.client_id, job.spec.user_id, model, job.spec.labels


def without_message(error: JobError | None) -> JobError | None:
    return replace(error, message="") if error else None


def entered(stage_seconds: Mapping[Stage, float]) -> Mapping[Stage, float]:
    """Return the stages that were entered."""
    return {stage: seconds for stage, seconds in stage_seconds.items() if seconds}
