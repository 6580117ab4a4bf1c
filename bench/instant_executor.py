"""The real executor with a model that answers after a pause of EXECUTOR_BENCH_SECONDS, without a network."""

import asyncio
import json
import time

from pydantic import Field

from executor import bootstrap
from executor.ports import Begin, ModelAnswer, ModelRequest, at_once
from executor.settings import ExecutorSettings
from executor.work import Usage
from runtime import logs, running, settings


class BenchSettings(ExecutorSettings):
    """The executor's settings, and how long a call takes."""

    bench_seconds: float = Field(0.0, ge=0)


class InstantModel:
    """Answers with the time at which it was asked."""

    def __init__(self, pause_seconds: float) -> None:
        self._pause_seconds = pause_seconds

    async def analyze(self, request: ModelRequest, begin: Begin = at_once) -> ModelAnswer:
        del request
        await begin()
        asked = time.time()
        if self._pause_seconds:
            await asyncio.sleep(self._pause_seconds)
        return ModelAnswer(
            text=json.dumps({"asked": asked}),
            finish_reason="STOP",
            usage=Usage(input_tokens=1_200, output_tokens=20, image_tokens=1_120),
            model_version="bench",
        )


def main() -> None:
    loaded = settings.load(BenchSettings)
    logs.configure(level=loaded.log_level)
    running.run(lambda stop: bootstrap.serve_with({"gemini": InstantModel(loaded.bench_seconds)}, loaded, stop))


if __name__ == "__main__":
    main()
