import pytest

from cluster.connect import ClusterError
from cluster.whole_node import NodeShare, whole_node


def node(cpus: float, gpus: float = 0, *, alive: bool = True) -> dict[str, object]:
    return {"Alive": alive, "Resources": {"CPU": cpus, "GPU": gpus, "memory": 1e9}}


def test_the_largest_node_is_held_whole() -> None:
    nodes = [node(2), node(8), node(16, alive=False), {"Alive": True, "Resources": {}}]
    assert whole_node(nodes, gpus=False) == NodeShare(8, 0)
    assert whole_node(nodes, gpus=False).options() == {
        "num_cpus": 8,
        "num_gpus": 0,
        "label_selector": {},
    }


def test_with_gpus_it_is_the_largest_that_has_one_and_all_of_them_are_held() -> None:
    nodes = [node(32), node(16, 4), node(16, 1), node(8, 8)]
    assert whole_node(nodes, gpus=True) == NodeShare(16, 4)
    assert whole_node(nodes, gpus=False) == NodeShare(32, 0)


def test_no_node_is_told() -> None:
    with pytest.raises(ValueError, match="no node of the cluster has a CPU and a GPU"):
        whole_node([node(4)], gpus=True)


def test_what_is_held_in_words() -> None:
    assert str(NodeShare(2, 0)) == "2 CPUs of one node"
    assert str(NodeShare(1, 8)) == "1 CPU and 8 GPUs of one node"
    assert str(NodeShare(2, 0.5)) == "2 CPUs and 0.5 GPUs of one node"


def test_only_nodes_of_the_kind_that_a_study_keeps_to_are_held() -> None:
    nodes = [{**node(8), "Labels": {"kind": "new"}}, {**node(32), "Labels": {"kind": "old"}}]

    found = whole_node(nodes, gpus=False, selector={"kind": "new"})

    assert found == NodeShare(8, 0, {"kind": "new"})
    assert found.options()["label_selector"] == {"kind": "new"}


def test_a_share_for_which_no_living_node_is_large_enough_is_refused() -> None:
    nodes = [{**node(8), "Labels": {"kind": "new"}}, node(32), node(64, 1, alive=False)]

    NodeShare(8, 0, {"kind": "new"}).check(nodes)
    NodeShare(32, 0).check(nodes)
    for share in (NodeShare(9, 0, {"kind": "new"}), NodeShare(33, 0), NodeShare(1, 0.5)):
        with pytest.raises(ClusterError, match=r"^no node of the cluster has "):
            share.check(nodes)
    with pytest.raises(ClusterError, match=r"has 1 CPU and 0\.5 GPUs$"):
        NodeShare(1, 0.5).check(nodes)


def test_nodes_that_have_proved_no_good_are_kept_off() -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": cpus}, "Labels": {"ray.io/node-id": name}}
        for name, cpus in (("large", 16.0), ("small", 4.0))
    ]
    found = whole_node(nodes, gpus=False, apart={"large"})
    assert (found.cpus, found.selector) == (4, {"ray.io/node-id": "!in(large)"})
    with pytest.raises(ClusterError, match="no node of the cluster has a CPU"):
        whole_node(nodes, gpus=False, apart={"large", "small"})
