"""Output that nobody reads any more: the pipe's reader has ended, or the terminal was closed.

What is at work goes on without, and comes to its own exit code.
"""

import contextlib
import os
from typing import IO


def say(text: str, stream: IO[str]) -> None:
    """Print lines and flush them; where they cannot be written, drop them with all that follows."""
    try:
        print(text, file=stream, flush=True)
    except OSError:
        drop(stream)


def flush(stream: IO[str]) -> None:
    """Write what a stream still holds; where that cannot be, drop it with all that follows."""
    try:
        stream.flush()
    except OSError:
        drop(stream)


def drop(stream: IO[str]) -> None:
    """Have what a stream holds, and whatever is written to it from now on, go nowhere.

    Python would write what it holds when the stream is closed, and end with exit code 120 if the
    stream was standard output or error.
    """
    with contextlib.suppress(OSError):  # one without a descriptor
        descriptor = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
        stream.flush()
