"""Workers that a Ray of one's own starts before anything is asked of them."""

import contextlib
from collections.abc import Iterator
from typing import Any

# How many to start, and how many may be starting at one time.
_FLAGS = ("--num_prestart_python_workers=", "--maximum_startup_concurrency=")


@contextlib.contextmanager
def beginning_with(workers: int) -> Iterator[None]:
    """Have the Ray that is started meanwhile begin with so many workers.

    Ray starts one a CPU. A study needs one more: the process that has prepared the teacher is none
    in which Ray would start a trial, and the last trial would wait for a process to load torch.
    Ray 2.60 has no setting for it, but tells its raylet by arguments.
    """
    import ray

    services = ray._private.services
    start = services.start_ray_process

    def started(command: list[str], *positional: Any, **named: Any) -> Any:
        return start([_told(word, workers) for word in command], *positional, **named)

    services.start_ray_process = started
    try:
        yield
    finally:
        services.start_ray_process = start


def _told(word: str, workers: int) -> str:
    flag = next((flag for flag in _FLAGS if word.startswith(flag)), None)
    return word if flag is None else f"{flag}{workers}"
