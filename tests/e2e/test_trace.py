"""One trace over two processes, received over real OTLP."""

import asyncio
import socket

from key_calls import closed
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from oteltap import OtelTapHttpProtobufReceiver, OtelTapHttpProtobufReceiverSettings
from system_calls import StartStack

from visionjobs.v1 import job_pb2
from visionjobs.v1 import vision_job_service_pb2 as pb

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CALLER_SPAN = "b7ad6b7169203331"
CALL = "generate_content gemini-3.8-flash"
PARENTS = {
    "submit": None,
    "queue wait": "submit",
    "dispatch": "submit",
    "attempt": "dispatch",
    CALL: "attempt",
    "complete": "attempt",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


async def spans_of_one_job(start_stack: StartStack, spec: job_pb2.JobSpec) -> tuple[dict[str, Span], list[str]]:
    """Return the spans by their names, and the keys with which the job was submitted and done."""
    receiver = OtelTapHttpProtobufReceiver(OtelTapHttpProtobufReceiverSettings(http_port=(port := free_port())))
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    async with asyncio.timeout(60), receiver:
        spans = receiver.stream_traces()
        async with start_stack(executors=0, environment=environment) as system, closed(system) as doors:
            await system.choose_provider()
            backend, executor = await doors.key("backend"), await doors.key("fleet", "EXECUTOR")
            await system.start_executor(environment={"EXECUTOR_API_KEY": executor.secret})
            metadata = (("traceparent", f"00-{TRACE_ID}-{CALLER_SPAN}-01"), *backend.metadata)
            job = (await backend.jobs.SubmitJob(pb.SubmitJobRequest(spec=spec), metadata=metadata)).job
            assert job.trace_id == TRACE_ID
            found: dict[str, Span] = {}
            async for span in spans:
                found[span.name] = span
                if len(found) == len(PARENTS):
                    return found, [backend.secret, executor.secret]
    raise AssertionError(f"only {sorted(found)} arrived")


async def test_a_callers_trace_runs_through_both_processes_to_the_outcome(
    start_stack: StartStack, spec: job_pb2.JobSpec
) -> None:
    spans, secrets = await spans_of_one_job(start_stack, spec)

    assert set(spans) == set(PARENTS)
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE_ID}
    for name, parent in PARENTS.items():
        expected = spans[parent].span_id.hex() if parent else CALLER_SPAN
        assert spans[name].parent_span_id.hex() == expected, name
    call = {attribute.key: attribute.value for attribute in spans[CALL].attributes}
    assert call["gen_ai.request.model"].string_value == "gemini-3.8-flash"
    assert call["gen_ai.provider.name"].string_value == "gcp.gemini"
    assert call["gen_ai.usage.input_tokens"].int_value > 0
    wait = spans["queue wait"]
    assert wait.start_time_unix_nano <= wait.end_time_unix_nano <= spans["attempt"].start_time_unix_nano
    for secret in secrets:
        assert not any(secret.encode() in span.SerializeToString() for span in spans.values())
