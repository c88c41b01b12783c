"""Results of tasks, fetched: what went wrong on a worker is told as if it had happened here."""

from dataclasses import dataclass
from typing import Any

from cluster.connect import ClusterError

_MISSING = "No module named"


@dataclass(frozen=True)
class Loss:
    """How a task's worker was lost.

    Attributes:
        reason: In words.
        retry: Whether another may do better.
        mend: What helps, where the reason tells.
    """

    reason: str
    retry: bool = True
    mend: str | None = None


def fetch(reference: Any, timeout: float | None = None) -> Any:
    """Fetch an object; an error of the worker is raised as itself, without Ray's wrapping.

    Args:
        reference: Of the object.
        timeout: Seconds after which it is not waited for any more.

    Raises:
        ClusterError: if this package is not installed where the worker is.
        ray.exceptions.GetTimeoutError: if the object is not there in time.
    """
    import ray

    try:
        return ray.get(reference, timeout=timeout)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(error, ray.exceptions.RayTaskError) and isinstance(cause, Exception):
            raise cause from error
        if not isinstance(error, ray.exceptions.RaySystemError) or _MISSING not in str(error):
            raise
        missing = str(error).rpartition(_MISSING)[2].strip().splitlines()[0]
        raise ClusterError(
            f"a node of the cluster has no module {missing}; install this package on every node, "
            "in the Python that runs `ray start`"
        ) from error


def loss(error: BaseException) -> Loss | None:
    """Return how the worker of a task was lost, if that is what an error of Ray's says."""
    from ray import exceptions

    if isinstance(error, exceptions.OutOfMemoryError):
        return Loss(
            "out of memory: Ray ended it to save its node",
            retry=False,
            mend="free memory there, or begin a study with a smaller batch or network, or with "
            "fewer trials at once (a larger --cpus-per-trial)",
        )
    node = (exceptions.NodeDiedError, exceptions.LocalRayletDiedError, exceptions.ObjectLostError)
    if isinstance(error, node):
        return Loss("its node died")
    if isinstance(error, exceptions.WorkerCrashedError):
        return Loss("it died")
    if isinstance(error, exceptions.TaskUnschedulableError):
        return Loss("its node is gone")
    return None
