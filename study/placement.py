"""What a study holds of a cluster, and on which of its nodes."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune

from cluster.connect import Cluster
from cluster.kinds import find_nodes, keep_to_one_kind, keeping_off, matches
from cluster.resources import TrialResources
from cluster.shared_folder import nodes_without
from study.mirror import mirror_of
from study.trial_context import TrialTask


def placed(resources: TrialResources, config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
    """Return what Ray Tune holds for a trial, by the configuration that its task was made."""
    return held(resources, TrialTask.from_config(config).avoided)


def held(resources: TrialResources, avoided: Collection[str] = ()) -> tune.PlacementGroupFactory:
    """Return what Ray Tune holds for a trial.

    Nodes to be avoided are, unless no other that is there has room for it: rather than wait for one
    that may never come, a trial is tried where it may fail, and so say why.
    """
    bundle = {"CPU": resources.cpus, "GPU": resources.gpus}
    selector = dict(resources.selector)
    if avoided:
        elsewhere = keeping_off(selector, avoided)
        if any(_has_room(n, bundle) and matches(n["Labels"], elsewhere) for n in ray.nodes()):
            selector = elsewhere
    if not selector:
        return tune.PlacementGroupFactory([bundle])
    return tune.PlacementGroupFactory([bundle], bundle_label_selector=[selector])


def _has_room(node: Mapping[str, Any], bundle: Mapping[str, float]) -> bool:
    """Whether a node is there and could hold a trial, were nothing else on it."""
    has = node["Resources"]
    return bool(node["Alive"]) and all(has.get(name, 0) >= n for name, n in bundle.items())


def still_usable(cluster: Cluster, folder: Path, unfit: Collection[str], *, gpus: bool) -> Cluster:
    """Return what a study may use of a cluster whose nodes have come and gone during its trials.

    On a node of another kind, without the study's folder, or on which trials failed whatever they
    were, nothing more is trained or timed; nor on one that was just cut off.

    Args:
        cluster: What it could use till then.
        folder: The study's.
        unfit: Nodes on which trials failed, by Ray's names.
        gpus: Whether trials hold GPUs.

    Raises:
        ClusterError: if no node is left.
    """
    if cluster.address == "local":
        return cluster
    nodes = find_nodes(cluster, gpus=gpus, without_late=True)
    bad = set(unfit)

    def kept() -> Cluster:
        fit = [node for node in nodes if node.id not in bad]
        return keep_to_one_kind(cluster, fit, None, cluster.kind, gpus=gpus)

    if mirror_of(folder.parent) is None:
        bad |= set(nodes_without(folder, kept(), without_late=True))
    used, there = kept(), bad.intersection(node.id for node in nodes)
    return replace(used, selector=keeping_off(used.selector, there)) if there else used
