"""Nodes asked one by one: each runs a task that holds nothing, and so waits for nobody."""

from collections.abc import Callable, Sequence
from typing import Any

from cluster.connect import ClusterError
from cluster.fetching import fetch, loss

# A label that Ray gives to nodes by itself.
NODE_LABEL = "ray.io/node-id"


def ask_nodes(
    nodes: Sequence[str],
    task: Callable[..., Any],
    *arguments: Any,
    seconds: float = 60.0,
    without_late: bool = False,
) -> list[Any]:
    """Return what nodes answer; None of one that is gone, which Ray may list for some seconds.

    Args:
        nodes: Ray's names of them.
        task: What each is to run.
        arguments: What the task is given.
        seconds: How long they have.
        without_late: Whether one that does not answer in time is as good as gone.

    Raises:
        ClusterError: if one does not answer in time, and that matters.
    """
    import ray

    ask = ray.remote(task)
    asked = [
        ask.options(num_cpus=0, label_selector={NODE_LABEL: node}).remote(*arguments)
        for node in nodes
    ]
    _, late = ray.wait(asked, num_returns=len(asked), timeout=seconds)
    if late and not without_late:
        raise ClusterError(
            f"not every node of the cluster ran a task within {seconds:g} s; see `ray status`"
        )
    found: list[Any] = []
    for reference in asked:
        if reference in late:
            found.append(None)
            continue
        try:
            found.append(fetch(reference))
        except ray.exceptions.RayError as error:
            if loss(error) is None:
                raise
            found.append(None)
    return found
