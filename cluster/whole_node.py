"""What a task asks of Ray: a part of a node, or all of one so that nothing else runs beside it."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.connect import ClusterError
from cluster.kinds import keeping_off, matches


@dataclass(frozen=True)
class NodeShare:
    """CPUs and GPUs of one node: who holds all that it has shares it with no other task.

    Attributes:
        cpus: Of the node.
        gpus: Likewise; a fraction is shared with others.
        selector: Labels of the nodes that will do.
    """

    cpus: int
    gpus: float
    selector: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """As in "8 CPUs and 1 GPU of one node"."""
        return f"{self._counts()} of one node"

    def _counts(self) -> str:
        held = (self.cpus, "CPU"), (self.gpus, "GPU")
        return " and ".join(f"{n:g} {what}{'s' if n != 1 else ''}" for n, what in held if n)

    def options(self) -> dict[str, Any]:
        """Return what Ray is asked for; the task waits until all of it is free at once."""
        return {
            "num_cpus": self.cpus,
            "num_gpus": self.gpus,
            "label_selector": dict(self.selector),
        }

    def check(self, nodes: Iterable[Mapping[str, Any]]) -> None:
        """Refuse a share for which the task would wait without end.

        Args:
            nodes: As ``ray.nodes()`` tells them.

        Raises:
            ClusterError: if none of them has so much, busy or not.
        """
        for has in _resources(nodes, self.selector):
            if has.get("CPU", 0) >= self.cpus and has.get("GPU", 0) >= self.gpus:
                return
        raise ClusterError(f"no node of the cluster has {self._counts()}")


def whole_node(
    nodes: Iterable[Mapping[str, Any]],
    *,
    gpus: bool,
    selector: Mapping[str, str] | None = None,
    apart: Collection[str] = (),
) -> NodeShare:
    """Return all of a cluster's largest node: that of most CPUs, of several that of most GPUs.

    No other node but its equals has room for that, so it is held whole wherever it is.

    Args:
        nodes: As ``ray.nodes()`` tells them.
        gpus: Whether it has to have GPUs.
        selector: Labels of the nodes that will do; nodes come and go, so they are looked at anew.
        apart: Nodes that have proved no good, by Ray's names.

    Raises:
        ClusterError: if there is none such.
    """
    selector = keeping_off(selector or {}, apart) if apart else selector or {}
    alive = _resources(nodes, selector)
    sizes = [(int(has.get("CPU", 0)), int(has.get("GPU", 0))) for has in alive]
    fit = [size for size in sizes if size[0] > 0 and (size[1] > 0 or not gpus)]
    if not fit:
        raise ClusterError(f"no node of the cluster has {'a CPU and a GPU' if gpus else 'a CPU'}")
    return NodeShare(*max(fit), selector)


def _resources(
    nodes: Iterable[Mapping[str, Any]], selector: Mapping[str, str]
) -> list[Mapping[str, float]]:
    """What each living node has that a selector lets through."""
    return [
        node["Resources"]
        for node in nodes
        if node["Alive"] and matches(node.get("Labels", {}), selector)
    ]
