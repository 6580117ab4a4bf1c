"""Checks answers in a process of their own where the check could take long.

The library that checks holds the interpreter meanwhile, also in a thread: a schema of thousands of alternatives against an
answer of thousands of values would stop an executor's heartbeats for half a minute. Such pairs are rare; for them a process
is started, and killed when it takes too long.
"""

import json
import subprocess
import sys

from executor.validation import InvalidOutput, UnusableSchema, Validators
from policies.ladder import Flaw

MAX_STEPS = 2_000_000
"""Characters of the schema times values of the answer: at some 30 ns for each at the worst, 50 ms and a little more."""

SECONDS = 20.0
_MEMORY_BYTES = 1024**3
# Neither keys nor settings: the process runs on what callers and providers sent.
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1", "LC_ALL": "C.UTF-8"}


def takes_long(schema_json: str, text: str) -> bool:
    """Say whether a check could take longer than an event loop may stand still."""
    return len(schema_json) * (1 + text.count(",") + text.count(":")) > MAX_STEPS


def validate(schema_json: str, text: str, *, seconds: float = SECONDS) -> str:
    """Return what `Validator.validate` returns, and raise as it does. Waits for a process; for a thread to call.

    Raises:
        InvalidOutput: See there.
        UnusableSchema: The answer cannot be checked within the time and memory that there is.
    """
    question = json.dumps([schema_json, text]).encode()
    try:
        done = subprocess.run(  # noqa: S603 - it runs our own module, and nothing of the question is a word of the command
            [sys.executable, "-m", __name__],
            input=question,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            timeout=seconds,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise UnusableSchema(f"An answer could not be checked against the schema within {seconds:g} s.") from None
    except (subprocess.CalledProcessError, OSError) as error:
        raise UnusableSchema(f"An answer could not be checked against the schema: {type(error).__name__}.") from None
    verdict = json.loads(done.stdout)
    if "output" in verdict:
        return str(verdict["output"])
    raise InvalidOutput(verdict["message"], flaw=Flaw(verdict["flaw"]), path=verdict["path"])


def _main() -> None:
    if sys.platform != "darwin":
        import resource  # noqa: PLC0415 - there is none on some systems

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    schema_json, text = json.loads(sys.stdin.buffer.read())
    try:
        verdict = {"output": Validators().of(schema_json).validate(text)}
    except InvalidOutput as invalid:
        verdict = {"message": str(invalid), "flaw": invalid.flaw, "path": invalid.path}
    sys.stdout.write(json.dumps(verdict))


if __name__ == "__main__":
    _main()
