"""Changes jobs one after the other."""

from collections.abc import Awaitable, Callable, Iterable

from visionjobs.cli.failures import ExitCode, exit_code
from visionjobs.cli.output import Output, Tell
from visionjobs.errors import FailedPrecondition, NotFound
from visionjobs.jobs import Job


async def change_each(
    job_ids: Iterable[str], change: Callable[[str], Awaitable[Job]], output: Output, tell: Tell
) -> ExitCode:
    """Change each job and tell what came of it; one that cannot be changed does not keep the others from it.

    Returns:
        What became of the first that could not be changed, else DONE.
    """
    code = ExitCode.DONE
    for job_id in dict.fromkeys(job_ids):
        try:
            job = await change(job_id)
        except (NotFound, FailedPrecondition) as error:
            output.error(str(error))
            code = code or exit_code(error)
        else:
            tell(job)
    return code
