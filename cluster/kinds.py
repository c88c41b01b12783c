"""Kinds of device: a study keeps to one, for latencies of two kinds do not compare.

A kind is a processor's model where trials run on CPUs, and Ray's accelerator type where they hold
GPUs.
"""

import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cluster.connect import Cluster, ClusterError
from cluster.every_node import NODE_LABEL, ask_nodes

_TYPE_PREFIX = "accelerator_type:"
# A label that Ray gives to nodes by itself.
_TYPE_LABEL = "ray.io/accelerator-type"
# Of a machine that does not say what its processor is.
UNNAMED = "unnamed"
# Stands between what a processor of ARM's is called and its numbers.
_MAKER = " (implementer "


@dataclass(frozen=True)
class Node:
    """A node of a cluster on which trials could run.

    Attributes:
        id: Ray's name of it.
        cpus: CPUs that Ray may use.
        gpus: GPUs that Ray may use.
        kind: Of the devices that trials would hold.
        labelled: Whether Ray finds it by that kind.
    """

    id: str
    cpus: int
    gpus: int
    kind: str
    labelled: bool = False


def processor_name(about: Path = Path("/proc/cpuinfo")) -> str:
    """Return the model of this machine's processor, on ARM with its maker's and its own number."""
    try:
        lines = [line.partition(":") for line in about.read_text().splitlines()]
    except OSError:
        lines = []
    said = [(name.strip(), value.strip()) for name, _, value in lines]
    first = next((value for name, value in said if name == "model name"), "")
    model = first or platform.processor() or platform.machine() or UNNAMED
    # There the name is mostly that of the instruction set; cores of two kinds have two numbers.
    makers, parts = (
        "/".join(sorted({value for name, value in said if name == asked}))
        for asked in ("CPU implementer", "CPU part")
    )
    return f"{model}{_MAKER}{makers}, part {parts})" if makers and parts else model


def find_nodes(cluster: Cluster, *, gpus: bool, without_late: bool = False) -> list[Node]:
    """Return the nodes of a connected cluster that have what trials hold, with their kinds.

    Args:
        cluster: The cluster that is connected.
        gpus: Whether trials hold GPUs.
        without_late: Whether a node that does not say in time what it is is left out.

    Raises:
        ClusterError: if one does not, and that matters.
    """
    import ray

    able = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    if gpus:
        found = ((node, _accelerator(node["Resources"])) for node in able)
        return [_node(node, kind) for node, kind in found if kind is not None]
    if cluster.address == "local":
        return [_node(node, processor_name()) for node in able]
    # Each says itself what it is.
    names = [node["NodeID"] for node in able]
    kinds = ask_nodes(names, processor_name, without_late=without_late)
    answers = zip(able, kinds, strict=True)
    return [_node(node, kind) for node, kind in answers if kind is not None]


def keep_to_one_kind(
    cluster: Cluster, nodes: Sequence[Node], asked: str | None, kept: str | None, *, gpus: bool
) -> Cluster:
    """Return what a study may use of a cluster: the nodes of one kind, mostly the commonest.

    Args:
        cluster: The cluster that is connected.
        nodes: Those of it with what trials hold.
        asked: The kind that was asked for, or None.
        kept: The kind on which the study's trials ran before, or None.
        gpus: Whether trials hold GPUs.

    Raises:
        ClusterError: if there is no node, or none of the kind that was asked for or ran before.
    """
    if not nodes:
        raise ClusterError(
            "--gpus-per-trial: no node has a GPU and a CPU beside it; leave it out to train on CPUs"
            if gpus
            else "the cluster has no node with a CPU for trials; start one with --num-cpus N"
        )
    sizes: dict[str, int] = {}
    for node in nodes:
        sizes[node.kind] = sizes.get(node.kind, 0) + (node.gpus if gpus else node.cpus)
    kept = _in_full(kept, sizes)
    asked = kept if _takes_in(asked, kept) else _in_full(asked, sizes)
    if kept is not None and asked is not None and kept != asked:
        raise ClusterError(
            f"--device-kind {asked!r}: the trials of this study ran on {kept}, and latencies of "
            "two kinds do not compare; leave it out, or give the study a --name of its own"
        )
    if kept is not None and kept not in sizes:
        raise ClusterError(
            f"the trials of this study ran on {kept}, and this cluster has only {_listed(sizes)}; "
            "latencies of two kinds do not compare: go on where it ran, or give the study a --name "
            "of its own"
        )
    if asked is not None and asked not in sizes:
        near = get_close_matches(asked, sizes, 1, 0.3)
        instead = f"; did you mean {near[0]!r}?" if near else ""
        raise ClusterError(
            f"--device-kind {asked!r}: this cluster has only {_listed(sizes)}{instead}"
        )
    kind = kept or asked or max(sizes, key=lambda name: (sizes[name], name))
    chosen = [node for node in nodes if node.kind == kind]
    apart = [node.id for node in nodes if node.kind != kind]
    others = {name: size for name, size in sizes.items() if name != kind}
    return replace(
        cluster,
        cpus=sum(node.cpus for node in chosen),
        gpus=sum(node.gpus for node in chosen),
        nodes=len(chosen),
        largest=max(node.cpus for node in chosen),
        kind=kind,
        used=tuple(chosen),
        selector=_selector(chosen, apart),
        left_alone=_listed(others, "GPU" if gpus else "CPU"),
    )


def _in_full(name: str | None, sizes: Mapping[str, int]) -> str | None:
    """Return the kind that is meant; of those that a shorter name takes in, the commonest."""
    meant = [kind for kind in sizes if _takes_in(name, kind)]
    return max(meant, key=lambda kind: (sizes[kind], kind)) if meant else name


def _takes_in(name: str | None, kind: str | None) -> bool:
    """Whether a kind is the one of a name, which may lack the numbers of a processor of ARM's."""
    return None not in (name, kind) and name in (kind, str(kind).partition(_MAKER)[0])


def matches(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Whether a node of these labels is one that a selector of Ray's lets through."""
    return all(
        (labels.get(name) in _values(value)) is not value.startswith("!")
        for name, value in selector.items()
    )


def keeping_off(selector: Mapping[str, str], nodes: Collection[str]) -> dict[str, str]:
    """Return a selector that lets through the same nodes but some, by Ray's names of them.

    Of nodes, a selector names those alone that will not do.
    """
    before = _values(selector[NODE_LABEL]) if NODE_LABEL in selector else []
    return {**selector, NODE_LABEL: f"!in({','.join(sorted({*before, *nodes}))})"}


def _values(value: str) -> list[str]:
    """What a selector names, in or without parentheses."""
    return value.removeprefix("!").removeprefix("in(").removesuffix(")").split(",")


def _selector(chosen: Sequence[Node], apart: Collection[str]) -> dict[str, str]:
    if all(node.labelled for node in chosen):
        return {_TYPE_LABEL: chosen[0].kind}
    # Also nodes that are added later, or that come back, by another name: one of another kind is
    # found out by the first trial that comes there, and kept off from then on. Ray has no label of
    # processors.
    return keeping_off({}, apart) if apart else {}


def _listed(sizes: Mapping[str, int], device: str = "") -> str:
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    if not device:
        return " and ".join(names)
    return " and ".join(
        f"{sizes[name]} {device}{'' if sizes[name] == 1 else 's'} of {name}" for name in names
    )


def _node(node: Mapping[str, Any], kind: str) -> Node:
    has = node["Resources"]
    labelled = node["Labels"].get(_TYPE_LABEL) == kind
    return Node(node["NodeID"], int(has.get("CPU", 0)), int(has.get("GPU", 0)), kind, labelled)


def _accelerator(resources: Mapping[str, float]) -> str | None:
    """The type of a node's GPUs; None where it has none."""
    if resources.get("GPU", 0) <= 0:
        return None
    types = [name.removeprefix(_TYPE_PREFIX) for name in resources if name.startswith(_TYPE_PREFIX)]
    return types[0] if types else UNNAMED
