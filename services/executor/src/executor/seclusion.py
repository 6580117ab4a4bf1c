"""Keeps what this process knows from other processes of the same user.

Its memory, and the environment that it was started with, hold keys. By default the kernel shows both to whoever runs as the
same user, and that may be a worker that a hostile image has taken over.
"""

import ctypes
import sys

# https://man7.org/linux/man-pages/man2/PR_SET_DUMPABLE.2const.html
_PR_SET_DUMPABLE = 4


def seclude() -> None:
    """Show nobody but root the memory, the environment and the descriptors of this process; nor does it dump core."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
