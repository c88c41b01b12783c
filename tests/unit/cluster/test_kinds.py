from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.connect import Cluster, ClusterError
from cluster.kinds import (
    Node,
    find_nodes,
    keep_to_one_kind,
    keeping_off,
    matches,
    processor_name,
)

HERE = Cluster("head:6379", cpus=26, gpus=5, nodes=4, largest=16)
NODES = [
    Node("a", cpus=4, gpus=2, kind="old"),
    Node("b", cpus=16, gpus=1, kind="new"),
    Node("c", cpus=2, gpus=2, kind="old"),
]
# As Ray labels nodes with GPUs.
LABELLED = [replace(node, labelled=True) for node in NODES]


def chosen(
    asked: str | None = None, kept: str | None = None, *, gpus: bool = False, nodes: int = 3
) -> Cluster:
    return keep_to_one_kind(HERE, NODES[:nodes], asked, kept, gpus=gpus)


def test_the_kind_with_most_devices_is_taken_and_the_others_are_named() -> None:
    cpus = chosen()
    assert (cpus.kind, cpus.cpus, cpus.nodes, cpus.largest) == ("new", 16, 1, 16)
    assert cpus.left_alone == "6 CPUs of old"
    gpus = chosen(gpus=True)
    assert (gpus.kind, gpus.cpus, gpus.gpus, gpus.nodes, gpus.largest) == ("old", 6, 4, 2, 4)
    assert gpus.left_alone == "1 GPU of new"


def selector(**asked: object) -> Mapping[str, str]:
    return chosen(**asked).selector  # type: ignore[arg-type]


def test_ray_finds_the_nodes_by_labels_that_it_gives_by_itself() -> None:
    assert selector(asked="old") == {"ray.io/node-id": "!in(b)"}
    by_type = keep_to_one_kind(HERE, LABELLED, None, None, gpus=True).selector
    assert by_type == {"ray.io/accelerator-type": "old"}
    assert selector(gpus=True) == {"ray.io/node-id": "!in(b)"}
    assert selector(nodes=1) == {}


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_node_that_comes_back_or_joins_later_is_used(nodes: int) -> None:
    """Ray gives it another name then."""
    assert matches({"ray.io/node-id": "a-again"}, selector(asked="old", nodes=nodes))


@pytest.mark.parametrize(
    ("before", "after", "left"),
    [
        ({}, {"ray.io/node-id": "!in(a,b)"}, ["c", "d"]),
        (
            {"ray.io/accelerator-type": "old"},
            {"ray.io/accelerator-type": "old", "ray.io/node-id": "!in(a,b)"},
            ["c"],
        ),
        ({"ray.io/node-id": "!in(d)"}, {"ray.io/node-id": "!in(a,b,d)"}, ["c"]),
        ({"ray.io/node-id": "!in(c,d)"}, {"ray.io/node-id": "!in(a,b,c,d)"}, []),
    ],
)
def test_nodes_are_kept_off_of_those_that_will_do(
    before: Mapping[str, str], after: Mapping[str, str], left: list[str]
) -> None:
    kinds = {"a": "old", "b": "old", "c": "old", "d": "new"}
    found = keeping_off(before, ["b", "a"])

    assert found == after
    assert left == [
        node
        for node, kind in kinds.items()
        if matches({"ray.io/node-id": node, "ray.io/accelerator-type": kind}, found)
    ]


def test_what_ran_before_is_kept_to() -> None:
    assert chosen(kept="old").kind == "old"
    assert chosen(asked="old", kept="old").kind == "old"


@pytest.mark.parametrize(
    ("asked", "kept", "words"),
    [
        ("new", "old", "ran on old"),
        (None, "gone", "ran on gone, and this cluster has only new and old"),
        ("nwe", None, "did you mean 'new'"),
        ("quite another", None, "this cluster has only new and old"),
    ],
)
def test_a_kind_that_cannot_be_had_is_refused_with_the_mend(
    asked: str | None, kept: str | None, words: str
) -> None:
    with pytest.raises(ClusterError, match=words):
        chosen(asked, kept)


@pytest.mark.parametrize(("gpus", "words"), [(True, "--gpus-per-trial"), (False, "--num-cpus")])
def test_a_cluster_without_a_node_for_trials_is_refused(gpus: bool, words: str) -> None:
    with pytest.raises(ClusterError, match=words):
        keep_to_one_kind(HERE, [], None, None, gpus=gpus)


def test_this_machine_has_a_processor_with_a_name() -> None:
    assert processor_name()


def core(part: str, name: str = "") -> str:
    """What Linux says of a core of ARM's."""
    named = f"model name\t: {name}\n" if name else ""
    about = (
        f"CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: {part}\n"
    )
    return f"processor\t: 0\n{named}{about}\n"


@pytest.mark.parametrize(
    ("about", "name"),
    [
        ("model name\t: A 7 @ 2.00GHz\n\nmodel name\t: A 7 @ 2.00GHz\n", "A 7 @ 2.00GHz"),
        (core("0xd0c") * 2, "aarch64 (implementer 0x41, part 0xd0c)"),
        (core("0xd40", "ARMv8 rev 1"), "ARMv8 rev 1 (implementer 0x41, part 0xd40)"),
        (core("0xd05") + core("0xd0a"), "aarch64 (implementer 0x41, part 0xd05/0xd0a)"),
        ("", "aarch64"),
    ],
)
def test_processors_of_arm_are_told_apart_by_their_numbers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, about: str, name: str
) -> None:
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    (tmp_path / "cpuinfo").write_text(about)
    assert processor_name(tmp_path / "cpuinfo") == name


@pytest.mark.parametrize(
    ("asked", "kept"), [("aarch64", None), (None, "aarch64"), ("aarch64",) * 2]
)
def test_a_processor_of_arm_is_found_by_the_name_that_it_had_without_numbers(
    asked: str | None, kept: str | None
) -> None:
    kind = "aarch64 (implementer 0x41, part 0xd0c)"
    nodes = [Node("a", cpus=4, gpus=0, kind=kind)]
    assert keep_to_one_kind(HERE, nodes, asked, kept, gpus=False).kind == kind
    # The study is known to have run on it from now on.
    assert keep_to_one_kind(HERE, nodes, asked, kind, gpus=False).kind == kind


def test_a_node_with_gpus_and_no_cpu_for_a_trial_decides_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray

    def node(name: str, kind: str, cpus: float, gpus: float) -> dict[str, object]:
        has = {"CPU": cpus, "GPU": gpus, f"accelerator_type:{kind}": 1.0}
        return {"NodeID": name, "Alive": True, "Resources": has, "Labels": {}}

    there = [node("head", "T4", 0.0, 8.0), node("a", "H100", 8.0, 1.0)]
    monkeypatch.setattr(ray, "nodes", lambda: there)
    found = find_nodes(HERE, gpus=True)
    assert [node.id for node in found] == ["a"]
    assert keep_to_one_kind(HERE, found, None, None, gpus=True).kind == "H100"
    there.pop()
    with pytest.raises(ClusterError, match="no node has a GPU and a CPU beside it"):
        keep_to_one_kind(HERE, find_nodes(HERE, gpus=True), None, None, gpus=True)


class Asks:
    """Stands for a task of Ray's: answers by the node that it is sent to."""

    def __init__(self, answers: Mapping[str, object]) -> None:
        self._answers = answers

    def options(self, *, num_cpus: int, label_selector: Mapping[str, str]) -> "Asks":
        assert num_cpus == 0
        (self._node,) = label_selector.values()
        return self

    def remote(self) -> object:
        return self._answers[self._node]


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, object]], list[Node]]:
    """Nodes of a cluster by what each answers, an error being what Ray raises for it."""
    import ray

    def get(reference: object, timeout: float | None = None) -> object:
        if isinstance(reference, Exception):
            raise reference
        return reference

    def found(answers: Mapping[str, object]) -> list[Node]:
        nodes = [
            {"NodeID": name, "Alive": True, "Resources": {"CPU": 4.0}, "Labels": {}}
            for name in answers
        ]
        monkeypatch.setattr(ray, "nodes", lambda: nodes)
        monkeypatch.setattr(ray, "remote", lambda _: Asks(answers))
        monkeypatch.setattr(ray, "wait", lambda asked, **_: (asked, []))
        monkeypatch.setattr(ray, "get", get)
        return find_nodes(HERE, gpus=False)

    return found


def test_a_node_that_dies_while_it_is_asked_is_left_out(
    answering: Callable[[Mapping[str, object]], list[Node]],
) -> None:
    from ray.exceptions import NodeDiedError, TaskUnschedulableError

    dead, gone = NodeDiedError("its raylet died"), TaskUnschedulableError("no such node")
    found = answering({"a": "old", "b": dead, "c": gone, "d": "new"})
    assert [(node.id, node.kind) for node in found] == [("a", "old"), ("d", "new")]


def test_a_node_that_is_late_with_its_answer_is_left_out_where_that_will_do(
    answering: Callable[[Mapping[str, object]], list[Node]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    answering({"a": "old", "b": "cut off"})
    monkeypatch.setattr(ray, "wait", lambda asked, **_: (asked[:1], asked[1:]))
    with pytest.raises(ClusterError, match="not every node of the cluster ran a task within 60 s"):
        find_nodes(HERE, gpus=False)
    assert [node.id for node in find_nodes(HERE, gpus=False, without_late=True)] == ["a"]


def test_a_node_without_this_package_is_told_of_with_the_mend(
    answering: Callable[[Mapping[str, object]], list[Node]],
) -> None:
    from ray.exceptions import RaySystemError

    with pytest.raises(ClusterError, match="install this package on every node"):
        answering({"a": "old", "b": RaySystemError("No module named 'cluster'")})
