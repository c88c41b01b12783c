"""Where trials are placed, once some nodes have proved to be no good."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import ray

from cluster.connect import Cluster, ClusterError
from cluster.kinds import Node
from cluster.resources import TrialResources
from study.placement import placed, still_usable
from study.trial_context import TrialTask


def node(name: str, *, alive: bool = True, cpus: float = 4.0) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpus}, "Labels": {"ray.io/node-id": name}}


@pytest.mark.parametrize(
    ("nodes", "avoided", "selectors"),
    [
        ([node("a"), node("b")], (), None),
        ([node("a"), node("b")], ("b",), [{"ray.io/node-id": "!in(b)"}]),
        # Nobody else has room, so it is tried there again rather than waited for.
        ([node("b")], ("b",), None),
        ([node("a", alive=False), node("b")], ("b",), None),
        ([node("a", cpus=1.0), node("b")], ("b",), None),
    ],
)
def test_a_trial_keeps_off_a_bad_node_while_there_is_another(
    monkeypatch: pytest.MonkeyPatch,
    nodes: list[dict[str, Any]],
    avoided: tuple[str, ...],
    selectors: list[dict[str, str]] | None,
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    task = TrialTask(7, {}, protected=False, avoided=avoided)

    found = placed(TrialResources(2, 0.0, 4), task.to_config())

    assert found.bundles == [{"CPU": 2.0}]
    assert found._bound.arguments.get("bundle_label_selector") == selectors


def test_nodes_of_other_kinds_are_kept_off_along_with_bad_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [node("a"), node("b"), node("c")])
    resources = TrialResources(2, 0.0, 4, {"ray.io/node-id": "!in(c)"})

    for avoided, left in [(("b",), "!in(b,c)"), (("a", "b"), "!in(c)")]:
        task = TrialTask(7, {}, protected=False, avoided=avoided)
        found = placed(resources, task.to_config())
        assert found._bound.arguments["bundle_label_selector"] == [{"ray.io/node-id": left}]


def usable(
    monkeypatch: pytest.MonkeyPatch,
    nodes: Sequence[tuple[str, str]],
    unfit: frozenset[str] = frozenset(),
    without_folder: Sequence[str] = (),
) -> Cluster:
    """What is left of a cluster of these nodes, by name and kind, after a search on the old."""
    there = [Node(name, 4, 0, kind) for name, kind in nodes]
    monkeypatch.setattr("study.placement.find_nodes", lambda *_, **how: there)

    def lacking(_: Path, cluster: Cluster, **how: bool) -> list[str]:
        assert how == {"without_late": True}
        return [node.id for node in cluster.used if node.id in without_folder]

    monkeypatch.setattr("study.placement.nodes_without", lacking)
    before = Cluster("h:1", 8, 0, 2, 4, kind="old")
    return still_usable(before, Path("studies/mine"), unfit, gpus=False)


def test_after_a_search_nothing_is_asked_of_a_node_that_has_proved_no_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = [("a", "old"), ("b", "old")]
    assert usable(monkeypatch, pair).selector == {}
    kind = usable(monkeypatch, [*pair, ("larger", "new")])
    assert (kind.kind, kind.cpus, kind.selector) == ("old", 8, {"ray.io/node-id": "!in(larger)"})
    late = usable(monkeypatch, pair, without_folder=["b"])
    assert (late.cpus, late.selector) == (4, {"ray.io/node-id": "!in(b)"})
    unfit = usable(monkeypatch, [*pair, ("c", "old")], frozenset({"b", "gone"}), ["c"])
    assert (unfit.cpus, unfit.selector) == (4, {"ray.io/node-id": "!in(b,c)"})
    with pytest.raises(ClusterError, match="ran on old, and this cluster has only new"):
        usable(monkeypatch, [("larger", "new")])
