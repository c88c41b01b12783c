"""What a Ray of one's own starts before anything is asked of it."""

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any

# How many to start, and how many may be starting at one time.
_FLAGS = ("--num_prestart_python_workers=", "--maximum_startup_concurrency=")


@contextlib.contextmanager
def replaced(owner: Any, name: str, by: Any) -> Iterator[None]:
    """Have an attribute be another for a while."""
    before = getattr(owner, name)
    setattr(owner, name, by)
    try:
        yield
    finally:
        setattr(owner, name, before)


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

    with replaced(services, "start_ray_process", started):
        yield


def _told(word: str, workers: int) -> str:
    flag = next((flag for flag in _FLAGS if word.startswith(flag)), None)
    return word if flag is None else f"{flag}{workers}"


@contextlib.contextmanager
def without_bystanders() -> Iterator[None]:
    """Have the Ray that is started meanwhile leave out three processes that nobody here asks.

    One watches what an autoscaler would add, one brings workers' logs to a driver that has declined
    them, and one serves the dashboard; also without a dashboard Ray starts it, for statistics of
    its use, and waits for it before it starts anything that trials need: 1.5 s of processor time.
    """
    import ray

    parameter: Any = ray._private.parameter
    node: Any = ray._private.node.Node

    def served(self: Any, **_: Any) -> None:
        self._webui_url = ""

    fewer = functools.partial(parameter.RayParams, no_monitor=True, include_log_monitor=False)
    with replaced(parameter, "RayParams", fewer), replaced(node, "start_api_server", served):
        yield


@contextlib.contextmanager
def keeping_handlers() -> Iterator[None]:
    """Have Ray leave this process's handler of SIGTERM as it is, while it starts or is joined.

    Its own ends the process with exit code 15, wherever it is.
    """
    import ray

    with replaced(ray._private.utils, "set_sigterm_handler", lambda handler: None):
        yield


@contextlib.contextmanager
def in_groups_of_their_own() -> Iterator[None]:
    """Have each process of the Ray that is started meanwhile lead a process group.

    Who ends a command may tell its whole group, as `timeout` does. The study is to stop its trials
    then, which it could not if Ray ended at the same moment. Ray's processes end with the driver in
    any case: the kernel sees to that.
    """
    import ray

    services: Any = ray._private.services
    group = {"process_group": 0} if os.name == "posix" else {}
    with replaced(services, "ConsolePopen", functools.partial(services.ConsolePopen, **group)):
        yield
