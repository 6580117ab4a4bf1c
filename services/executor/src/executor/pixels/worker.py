"""A worker: decodes the images that come in at its stdin, one at a time, and says at its stdout what became of each.

It binds itself to a memory and, for each image, a time of the processor, and ends when its stdin does. It knows no
key: its environment is empty of them, and it shares no memory with the executor.
"""

import os
import resource
import sys

from PIL import Image

from executor.pixels import decode
from executor.pixels.frames import OUT_OF_MEMORY, READY, Pipe, Reply, read_request, write_reply

_SPARE_CPU_SECONDS = 2


def main() -> None:
    """Work until stdin ends. Arguments: MiB of memory, seconds an image, and the longest side, 0 for any."""
    memory_mib, seconds, max_side = (int(argument) for argument in sys.argv[1:])
    _bind(memory_mib)
    replies = _take_stdout()
    replies.write(READY)
    replies.flush()
    _silence_stderr()
    while (data := read_request(sys.stdin.buffer)) is not None:
        _bind_time(seconds)
        write_reply(replies, _reply(data, max_side))
        # Before the next one comes.
        del data


def _reply(data: bytes, max_side: int) -> Reply:
    try:
        return decode.prepare(data, max_side=max_side)
    except decode.Unreadable as refusal:
        return Reply(refusal=str(refusal))
    except MemoryError:
        # At once: to unwind may take memory too.
        os._exit(OUT_OF_MEMORY)


def _bind(memory_mib: int) -> None:
    memory = memory_mib * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Nothing is written but to the pipes.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    # `decode` looks at the size itself.
    Image.MAX_IMAGE_PIXELS = None


def _bind_time(seconds: int) -> None:
    """Die of SIGXCPU when this image has taken too long, also where the executor is no more to see it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + seconds + _SPARE_CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _take_stdout() -> Pipe:
    """Return the pipe, and let whatever a library prints go nowhere."""
    pipe = os.fdopen(os.dup(1), "wb")
    _redirect(1)
    return pipe


def _silence_stderr() -> None:
    # Nobody reads it any more: it would fill, and stop this process.
    _redirect(2)


def _redirect(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


if __name__ == "__main__":
    main()
