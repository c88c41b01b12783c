"""Results of tasks, fetched: what went wrong on a worker is told as if it had happened here."""

from typing import Any

from cluster.connect import ClusterError

_MISSING = "No module named"


def fetch(reference: Any) -> Any:
    """Fetch an object; an error of the worker is raised as itself, without Ray's wrapping.

    Raises:
        ClusterError: if this package is not installed where the worker is.
    """
    import ray

    try:
        return ray.get(reference)
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
