"""The part of the client that changes jobs which are there: one or many are stopped, or done again."""

import uuid

from visionjobs.calls import Calls
from visionjobs.job_filter import JobFilter
from visionjobs.jobs import Job
from visionjobs.mapping import answers, requests


class ChangeCalls:
    """Stops jobs and does them again."""

    _calls: Calls

    async def cancel(self, job_id: str) -> Job:
        """Stop a job, also in the middle of its call, and return it. A CANCELLED job is returned as it is.

        Raises:
            FailedPrecondition: It ended otherwise.
            NotFound: The caller has none of that id.
        """
        answer = await self._calls.unary(self._calls.jobs.CancelJob, requests.cancel_request(job_id))
        return answers.job(answer.job)

    async def retry(self, job_id: str, *, request_id: str | None = None) -> Job:
        """Make a new job that does a finished one again, and return it.

        Args:
            job_id: Of a job that is final.
            request_id: The same id returns the same new job for 24 h. Default: a new one.

        Raises:
            FailedPrecondition: It is not final yet, or its images are gone.
            NotFound: The caller has none of that id.
        """
        request = requests.retry_request(job_id, request_id or str(uuid.uuid4()))
        return answers.job((await self._calls.unary(self._calls.jobs.RetryJob, request)).job)

    async def cancel_jobs(self, job_filter: JobFilter, *, dry_run: bool = False) -> int:
        """Stop all jobs that match and are not final, and return how many; only count them with `dry_run`.

        Each is stopped on its own: what was stopped before an error stays stopped, and the call may be made again.
        """
        request = requests.cancel_many_request(job_filter, dry_run=dry_run)
        return (await self._calls.unary(self._calls.jobs.CancelJobs, request)).count

    async def retry_jobs(self, job_filter: JobFilter, *, dry_run: bool = False) -> int:
        """Do all final jobs that match again, and return how many; only count them with `dry_run`.

        A filter without states means those that FAILED. Jobs whose images are gone are left out. The scheduler does
        each job again once a day at most, so the call is safe to repeat.
        """
        request = requests.retry_many_request(job_filter, dry_run=dry_run)
        return (await self._calls.unary(self._calls.jobs.RetryJobs, request)).count
