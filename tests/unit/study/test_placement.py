"""Where trials are placed, once some nodes have proved to be no good."""

from typing import Any

import pytest
import ray

from cluster.resources import TrialResources
from study.placement import placed
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


def test_of_nodes_that_were_chosen_the_others_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [node("a"), node("b"), node("c")])
    resources = TrialResources(2, 0.0, 4, {"ray.io/node-id": "in(a,b)"})

    for avoided, left in [(("b",), "in(a)"), (("a", "b"), "in(a,b)")]:
        task = TrialTask(7, {}, protected=False, avoided=avoided)
        found = placed(resources, task.to_config())
        assert found._bound.arguments["bundle_label_selector"] == [{"ray.io/node-id": left}]
