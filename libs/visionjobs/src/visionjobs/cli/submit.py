"""`visionjobs submit`: hand over a job."""

import getpass
from datetime import datetime, timedelta
from typing import Annotated

import typer

from visionjobs.cli import arguments
from visionjobs.cli.arguments import Label
from visionjobs.cli.failures import ExitCode
from visionjobs.cli.output_choice import choose
from visionjobs.cli.session import Session
from visionjobs.cli.watch import follow
from visionjobs.client import AsyncClient
from visionjobs.jobs import CachePolicy, Generation, Image, JobSpec, PostProcess

GENERATION = "Generation"
SECOND_STEP = "Second step"


def submit(
    *,
    context: typer.Context,
    images: Annotated[
        list[Image],
        typer.Argument(
            parser=arguments.image,
            metavar="IMAGE",
            help="1 to 16 images in the order in which the model sees them: paths, https addresses that an executor "
            "fetches, or sha256:HEX of uploaded ones.",
            show_default=False,
        ),
    ],
    prompt: Annotated[
        str,
        typer.Option(
            parser=arguments.text_or_file,
            metavar="TEXT|@FILE",
            help="What to do with the images; @FILE takes the text of a file, @- of stdin.",
            show_default=False,
        ),
    ],
    schema: Annotated[
        str,
        typer.Option(
            parser=arguments.content_of,
            metavar="FILE",
            help="The JSON schema that the result will satisfy; - is stdin.",
            show_default=False,
        ),
    ],
    model: Annotated[str, typer.Option(metavar="MODEL", help="The Gemini model.", show_default="the scheduler's")] = "",
    priority: Annotated[
        int,
        typer.Option(
            metavar="1|2|3", help="1 is high, 2 normal, 3 low.", show_default="2, or 3 if the key allows no more"
        ),
    ] = 0,
    user: Annotated[
        str | None,
        typer.Option(
            envvar="VISIONJOBS_USER",
            metavar="USER",
            help="For whom the job is made; usage is counted by it.",
            show_default="your login name",
        ),
    ] = None,
    labels: Annotated[
        list[Label] | None,
        typer.Option(
            "--label",
            parser=Label.parse,
            metavar="NAME=VALUE",
            help="`list` can filter by it; may be repeated.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        timedelta | None,
        typer.Option(
            parser=arguments.duration,
            metavar="DURATION",
            help="The longest one attempt may take, such as 90s or 5m.",
            show_default="5m",
        ),
    ] = None,
    max_retries: Annotated[
        int | None,
        typer.Option(metavar="N", help="How many failures are followed by another attempt.", show_default="3"),
    ] = None,
    schedule_time: Annotated[
        datetime | None,
        typer.Option(
            parser=arguments.time,
            metavar="TIME",
            help="Start not before this time: ISO 8601, or +10m from now.",
            show_default="at once",
        ),
    ] = None,
    expire_time: Annotated[
        datetime | None,
        typer.Option(
            parser=arguments.time,
            metavar="TIME",
            help="Do not start after this time; a job that still waits then ends EXPIRED.",
            show_default="never",
        ),
    ] = None,
    cache: Annotated[
        CachePolicy,
        typer.Option(
            case_sensitive=False,
            metavar="POLICY",
            show_default="use",
            help="use: a recent identical result answers at once. refresh: ask the model, others may use the result. "
            "off: ask the model, nobody else gets the result.",
        ),
    ] = CachePolicy.USE,
    request_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Makes it safe to run the command again: the same ID gives the same job.",
            show_default="new",
        ),
    ] = None,
    fail_fast: Annotated[
        bool,
        typer.Option("--fail-fast", metavar="", help="Do not queue the job while the model's circuit breaker is open."),
    ] = False,
    system_instruction: Annotated[
        str,
        typer.Option(
            parser=arguments.text_or_file,
            metavar="TEXT|@FILE",
            help="Sent as the model's system instruction.",
            show_default=False,
            rich_help_panel=GENERATION,
        ),
    ] = "",
    temperature: Annotated[
        float | None, typer.Option(metavar="0..2", help="How freely it chooses.", rich_help_panel=GENERATION)
    ] = None,
    max_output_tokens: Annotated[
        int | None, typer.Option(metavar="N", help="Thinking included.", rich_help_panel=GENERATION)
    ] = None,
    media_resolution: Annotated[
        str,
        typer.Option(
            metavar="LEVEL",
            help="low, medium, high or ultra_high: the tokens spent on each image.",
            show_default=False,
            rich_help_panel=GENERATION,
        ),
    ] = "",
    thinking_level: Annotated[
        str,
        typer.Option(
            metavar="LEVEL", help="minimal, low, medium or high.", show_default=False, rich_help_panel=GENERATION
        ),
    ] = "",
    service_tier: Annotated[
        str,
        typer.Option(
            metavar="TIER",
            help="standard, flex or priority: the provider's price and patience.",
            show_default="flex at priority 3, else standard",
            rich_help_panel=GENERATION,
        ),
    ] = "",
    post_process_prompt: Annotated[
        str,
        typer.Option(
            parser=arguments.text_or_file,
            metavar="TEXT|@FILE",
            help="What a DeepSeek model is to do with the JSON that Gemini gave.",
            show_default=False,
            rich_help_panel=SECOND_STEP,
        ),
    ] = "",
    post_process_schema: Annotated[
        str | None,
        typer.Option(
            parser=arguments.content_of,
            metavar="FILE",
            help="The JSON schema that its answer, and so the result, will satisfy.",
            show_default=False,
            rich_help_panel=SECOND_STEP,
        ),
    ] = None,
    post_process_model: Annotated[
        str,
        typer.Option(
            metavar="MODEL", help="The DeepSeek model.", show_default="the scheduler's", rich_help_panel=SECOND_STEP
        ),
    ] = "",
    watch: Annotated[
        bool, typer.Option("--watch", metavar="", help="Follow the job until it ends and print its result.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            metavar="",
            help="Print the job as a JSON object; with --watch one a line for each change, the last complete.",
        ),
    ] = False,
) -> None:
    """Hand over one job: images, a prompt and a JSON schema.

    visionjobs submit receipt.jpg --prompt @ask.txt --schema receipt.json --watch
    """
    session: Session = context.obj
    output = choose(as_json=as_json)
    spec = JobSpec(
        user_id=_login_name() if user is None else user,
        images=images,
        prompt=prompt,
        response_schema=schema,
        system_instruction=system_instruction,
        model=model,
        priority=priority,
        timeout=timeout,
        max_retries=max_retries,
        schedule_time=schedule_time,
        expire_time=expire_time,
        labels={label.name: label.value for label in labels or []},
        generation=Generation(
            temperature=temperature,
            max_output_tokens=max_output_tokens,
            media_resolution=_level(media_resolution),
            thinking_level=_level(thinking_level),
            service_tier=_level(service_tier),
        ),
        post_process=_second_step(post_process_prompt, post_process_schema, post_process_model),
        cache=cache,
        fail_fast=fail_fast,
    )

    async def work(client: AsyncClient) -> ExitCode:
        job = await client.submit(spec, request_id=request_id)
        if watch:
            return await follow(client, output, [job.job_id])
        output.submitted(job)
        return ExitCode.DONE

    session.run(output, work)


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise typer.BadParameter("This account has no login name: name the user.", param_hint="--user") from None


def _second_step(prompt: str, schema: str | None, model: str) -> PostProcess | None:
    if not (prompt or schema or model):
        return None
    if not prompt or not schema:
        needed = "--post-process-schema" if prompt else "--post-process-prompt"
        raise typer.BadParameter("A second step needs a prompt and a schema.", param_hint=needed)
    return PostProcess(prompt=prompt, response_schema=schema, model=model)


def _level(text: str) -> str:
    return text.upper().replace("-", "_")
