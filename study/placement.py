"""What a trial holds of a cluster, and on which of its nodes."""

from collections.abc import Collection, Mapping
from typing import Any

import ray
from ray import tune

from cluster.kinds import keeping_off, matches
from cluster.resources import TrialResources
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
