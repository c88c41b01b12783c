"""Kinds of device: a study keeps to one, for latencies of two kinds do not compare.

A kind is a processor's model where trials run on CPUs, and the full name of a GPU where they hold
GPUs, or Ray's type of it where that name is not known.
"""

import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cluster.connect import Cluster, ClusterError
from cluster.every_node import NODE_LABEL, ask_nodes
from cluster.gpus import gpu_names

_TYPE_PREFIX = "accelerator_type:"
# A label that Ray gives to nodes by itself.
_TYPE_LABEL = "ray.io/accelerator-type"
# Of a machine that does not say what its processor is.
UNNAMED = "unnamed"
# Stands between the names of GPUs of several kinds in one machine.
_BESIDE = " beside "
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
        type: Ray's of its GPUs, which takes in several kinds; empty where they are not asked about.
        labelled: Whether Ray finds it by that type.
        mixed: Whether its GPUs are of several kinds, of which a trial would hold any.
    """

    id: str
    cpus: int
    gpus: int
    kind: str
    type: str = ""
    labelled: bool = False
    mixed: bool = False


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

    asked = ("CPU", "GPU") if gpus else ("CPU",)
    able = [
        node
        for node in ray.nodes()
        if node["Alive"] and all(node["Resources"].get(name, 0) >= 1 for name in asked)
    ]
    tell: Callable[[], str | tuple[str, ...]] = gpu_names if gpus else processor_name
    if cluster.address == "local":
        return [_node(node, tell()) for node in able]
    # Each says itself what it is.
    names = [node["NodeID"] for node in able]
    answers = zip(able, ask_nodes(names, tell, without_late=without_late), strict=True)
    return [_node(node, answer) for node, answer in answers if answer is not None]


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
    pure = [node for node in nodes if not node.mixed]
    if not pure:
        raise ClusterError(
            f"--gpus-per-trial: {nodes[0].kind} in one machine: latencies of two kinds do not "
            "compare; name those of one kind, by UUID (nvidia-smi -L), in CUDA_VISIBLE_DEVICES "
            "before Ray is started there"
        )
    sizes = _sizes(pure, gpus)
    kept = _in_full(kept, pure, sizes)
    within = any(node.kind == kept and _takes_in(asked, node) for node in pure)
    asked = kept if within else _in_full(asked, pure, sizes)
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
    others = [node for node in nodes if node.kind != kind]
    return replace(
        cluster,
        cpus=sum(node.cpus for node in chosen),
        gpus=sum(node.gpus for node in chosen),
        nodes=len(chosen),
        largest=max(node.cpus for node in chosen),
        kind=kind,
        used=tuple(chosen),
        selector=_selector(chosen, others),
        left_alone=_listed(_sizes(others, gpus), "GPU" if gpus else "CPU"),
    )


def wrong_device(kind: str, *, gpus: bool) -> str | None:
    """Say that this machine has devices of another kind than a study's, or nothing.

    Nodes that join later are not asked what they are before a trial comes there: Ray has no label
    of processors, and labels GPUs by types.

    Args:
        kind: The study's; empty if any will do.
        gpus: Whether trials hold GPUs.
    """
    if not kind:
        return None
    here = _BESIDE.join(gpu_names()) if gpus else processor_name()
    if here in ("", kind):
        return None
    what = "another GPU" if gpus else "another processor"
    return f"its node has {what} ({here}) than the study runs on ({kind})"


def _sizes(nodes: Sequence[Node], gpus: bool) -> dict[str, int]:
    """How many devices there are of each kind."""
    sizes: dict[str, int] = {}
    for node in nodes:
        sizes[node.kind] = sizes.get(node.kind, 0) + (node.gpus if gpus else node.cpus)
    return sizes


def _in_full(name: str | None, nodes: Sequence[Node], sizes: Mapping[str, int]) -> str | None:
    """Return the kind that is meant; of those that a shorter name takes in, the commonest."""
    if name in sizes:
        return name
    meant = {node.kind for node in nodes if _takes_in(name, node)}
    return max(meant, key=lambda kind: (sizes[kind], kind)) if meant else name


def _takes_in(name: str | None, node: Node) -> bool:
    """Whether a node is of a kind, also by a name that studies of earlier versions have for it.

    That is Ray's type of a GPU, and of a processor of ARM's what it is called without its numbers.
    """
    return name in (node.kind, node.type or node.kind, node.kind.partition(_MAKER)[0])


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


def _selector(chosen: Sequence[Node], others: Sequence[Node]) -> dict[str, str]:
    """Labels of the nodes of a kind, also of those that are added later or come back.

    Ray has another name for these. One of another kind is found out by the first trial that comes
    there, and kept off from then on.
    """
    types = {node.type for node in chosen} if all(node.labelled for node in chosen) else set()
    found = {_TYPE_LABEL: types.pop()} if len(types) == 1 else {}
    apart = [
        node.id
        for node in others
        if not (node.labelled and found and found[_TYPE_LABEL] != node.type)
    ]
    return keeping_off(found, apart) if apart else found


def _listed(sizes: Mapping[str, int], device: str = "") -> str:
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    if not device:
        return " and ".join(names)
    return " and ".join(
        f"{sizes[name]} {device}{'' if sizes[name] == 1 else 's'} of {name}" for name in names
    )


def _node(node: Mapping[str, Any], answer: str | tuple[str, ...]) -> Node:
    """A node by what Ray has of it, and what it says of its processor or of its GPUs."""
    has = node["Resources"]
    size = node["NodeID"], int(has.get("CPU", 0)), int(has.get("GPU", 0))
    if isinstance(answer, str):
        return Node(*size, answer)
    types = (name.removeprefix(_TYPE_PREFIX) for name in has if name.startswith(_TYPE_PREFIX))
    kind = next(types, UNNAMED)
    labelled = node["Labels"].get(_TYPE_LABEL) == kind
    return Node(*size, _BESIDE.join(answer) or kind, kind, labelled, mixed=len(answer) > 1)
