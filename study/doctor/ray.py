"""Ray: really started as a study does, or joined, and asked to run one task.

In a process of its own, for that can be ended: where something else than Ray listens at an address,
Ray tries again for many minutes, and some of its errors end the process that called it.
"""

import contextlib
import multiprocessing
import shutil
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from study.doctor.check import Check, Scope, describe, number_of
from study.doctor.machine import ray_folder

LIMIT_SECONDS = 120.0
_TASK_SECONDS = 30.0


@dataclass(frozen=True)
class Tried:
    """What came of starting or joining Ray.

    Attributes:
        cpus: CPUs that Ray may use, over all nodes.
        gpus: GPUs that Ray may use, over all nodes.
        nodes: Number of nodes alive.
        connect_seconds: How long it took to start or join.
        task_seconds: How long a task took; None if no CPU was free for it.
        problem: What went wrong, in one line.
    """

    cpus: int = 0
    gpus: int = 0
    nodes: int = 0
    connect_seconds: float = 0.0
    task_seconds: float | None = None
    problem: str | None = None


def check_ray(scope: Scope, limit: float = LIMIT_SECONDS) -> Check:
    """Say whether Ray runs a task, and how fast; ``limit`` is the longest to wait (s)."""
    from cluster.connect import ClusterError, check_address

    try:
        check_address(scope.address)
    except ClusterError as error:
        return Check("ray", "fail", str(error), "leave --address out to run on this machine")
    sessions = _session_folders()
    pid, tried = _try_apart(scope.address, limit)
    own = [path for path in _session_folders() - sessions if path.name.endswith(f"_{pid}")]
    check = judge_ray(scope.address, tried, limit, logs=own[0] / "logs" if own else None)
    if check.state != "fail":
        _remove_sessions(own)
    return check


def judge_ray(
    address: str | None, tried: Tried | None, limit: float, *, logs: Path | None
) -> Check:
    """Judge what came of it; None is no answer within ``limit`` seconds. ``logs`` are Ray's own."""
    from cluster.connect import is_own

    local = is_own(address)
    mend = f"Ray's own log: {logs}" if logs is not None else None
    if not local:
        mend = f"ray status --address {address}, or leave --address out to run on this machine"
    if tried is None:
        what = "a local Ray did not start" if local else f"no Ray answers at {address}"
        return Check("ray", "fail", f"{what} within {limit:g} s", mend)
    if tried.problem is not None:
        if "No module named" in tried.problem:
            mend = "see packages" if local else "install this package on every node"
        return Check("ray", "fail", tried.problem, mend)
    has = number_of(tried.cpus, "CPU")
    has += f", {number_of(tried.gpus, 'GPU')}" if tried.gpus else ""
    has += f" on {number_of(tried.nodes, 'node')}" if not local else ""
    how = "a local Ray started" if local else f"joined {address}"
    text = f"{how} in {tried.connect_seconds:.1f} s ({has})"
    if tried.cpus < 1:
        return Check(
            "ray", "fail", f"{text}: nothing can run there", "ray start --num-cpus N there"
        )
    if tried.task_seconds is None:
        return Check(
            "ray",
            "note",
            f"{text}, but no CPU was free for a task within {_TASK_SECONDS:g} s",
            "a study waits for its turn; see ray status for who is at work",
        )
    return Check("ray", "ok", f"{text}; a task took {tried.task_seconds:.1f} s")


def _try_apart(address: str | None, limit: float) -> tuple[int, Tried | None]:
    """Run the trial in a process of its own; return its pid, and None if it was ended."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_try, args=(address, sender), daemon=True)
    process.start()
    sender.close()
    tried: Tried | None = None
    try:
        if receiver.poll(limit):
            tried = receiver.recv()
            process.join(_TASK_SECONDS)
    except EOFError:
        process.join()
        tried = Tried(problem=f"Ray ended its process (exit code {process.exitcode})")
    finally:
        _end(process)
        receiver.close()
    return process.pid or 0, tried


def _end(process: SpawnProcess) -> None:
    """End a process that still runs, and all that it has started.

    Asked to end, it would not while Ray waits for an answer; and of what Ray starts, the agents of
    its dashboard only notice after some seconds that the others are gone.
    """
    if not process.is_alive():
        return
    import psutil

    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.kill()
    process.join()
    for other in family:
        with contextlib.suppress(psutil.NoSuchProcess):  # which psutil tells from a later process
            other.kill()


def _try(address: str | None, sender: Connection) -> None:
    """Start or join Ray, run a task, leave, and send what came of it."""
    try:
        tried = _run_task(address)
    except Exception as error:
        from cluster.connect import ClusterError

        tried = Tried(problem=str(error) if isinstance(error, ClusterError) else describe(error))
    sender.send(tried)
    sender.close()


def _run_task(address: str | None) -> Tried:
    from cluster.connect import connect, disconnect

    begun = time.monotonic()
    cluster = connect(address, env={}, gpus=True)
    connected = time.monotonic()
    import ray

    task_seconds: float | None = None
    try:
        remote = ray.remote(num_cpus=1)(_version_there)
        try:
            ray.get(remote.remote(), timeout=_TASK_SECONDS if cluster.cpus else 0)
            task_seconds = time.monotonic() - connected
        except ray.exceptions.GetTimeoutError:
            pass
    finally:
        disconnect()
    return Tried(cluster.cpus, cluster.gpus, cluster.nodes, connected - begun, task_seconds)


def _version_there() -> str:
    """On a worker: what the trials import, though nothing heavy."""
    from study import __version__

    return __version__


def _session_folders() -> set[Path]:
    return set(ray_folder().glob("session_*_*"))


def _remove_sessions(folders: list[Path]) -> None:
    """Remove what Ray keeps of a session, and its link to the latest one if that was ours."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        latest = folder.with_name("session_latest")
        # Ray does not replace a link that leads nowhere.
        if latest.is_symlink() and not latest.exists():
            latest.unlink(missing_ok=True)
