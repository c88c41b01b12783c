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
    wrong_device,
)

HERE = Cluster("head:6379", cpus=26, gpus=5, nodes=4, largest=16)
NODES = [
    Node("a", cpus=4, gpus=2, kind="old"),
    Node("b", cpus=16, gpus=1, kind="new"),
    Node("c", cpus=2, gpus=2, kind="old"),
]
# As Ray labels nodes with GPUs.
LABELLED = [replace(node, type=node.kind, labelled=True) for node in NODES]
PCIE, MODULE = "NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3"


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


def on_gpus(
    monkeypatch: pytest.MonkeyPatch, *nodes: tuple[str, float, float, str, tuple[str, ...]]
) -> list[Node]:
    """Nodes as they are found: by name, CPUs, GPUs, Ray's type of these, and what they say."""
    import ray

    there = [
        {
            **{"NodeID": name, "Alive": True, "Labels": {"ray.io/accelerator-type": kind}},
            "Resources": {"CPU": cpus, "GPU": gpus, f"accelerator_type:{kind}": 1.0},
        }
        for name, cpus, gpus, kind, _ in nodes
    ]
    said = {name: names for name, *_, names in nodes}
    monkeypatch.setattr(ray, "nodes", lambda: there)
    monkeypatch.setattr(
        "cluster.kinds.ask_nodes", lambda names, tell, **_: [said[name] for name in names]
    )
    return find_nodes(HERE, gpus=True)


def test_a_node_with_gpus_and_no_cpu_for_a_trial_decides_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head, node = ("head", 0.0, 8.0, "T4", ("Tesla T4",)), ("a", 8.0, 1.0, "H100", (PCIE,))
    found = on_gpus(monkeypatch, head, node)
    assert [node.id for node in found] == ["a"]
    assert keep_to_one_kind(HERE, found, None, None, gpus=True).kind == PCIE
    found = on_gpus(monkeypatch, head)
    with pytest.raises(ClusterError, match="no node has a GPU and a CPU beside it"):
        keep_to_one_kind(HERE, found, None, None, gpus=True)


def test_gpus_are_told_apart_by_their_full_names_and_found_by_rays_type_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = on_gpus(
        monkeypatch,
        ("a", 8.0, 1.0, "H100", (PCIE,)),
        ("b", 8.0, 2.0, "H100", (MODULE,)),
        ("c", 8.0, 4.0, "MI250", ()),  # of which nobody tells more
    )
    assert [node.kind for node in found] == [PCIE, MODULE, "MI250"]
    chosen = keep_to_one_kind(HERE, found, PCIE, None, gpus=True)
    assert chosen.selector == {"ray.io/accelerator-type": "H100", "ray.io/node-id": "!in(b)"}
    assert chosen.left_alone == f"4 GPUs of MI250 and 2 GPUs of {MODULE}"
    assert chosen.checked_kind == PCIE
    assert replace(chosen, address="local").checked_kind == ""


@pytest.mark.parametrize(
    ("asked", "kept", "kind"),
    [
        (None, "H100", MODULE),  # as studies of earlier versions have it
        ("H100", None, MODULE),
        ("H100", PCIE, PCIE),
        ("H100", "H100", MODULE),
        (PCIE, "H100", None),
        (None, "A100", None),
    ],
)
def test_rays_type_of_a_gpu_means_the_commonest_of_that_type(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, kept: str | None, kind: str | None
) -> None:
    found = on_gpus(
        monkeypatch, ("a", 8.0, 1.0, "H100", (PCIE,)), ("b", 8.0, 2.0, "H100", (MODULE,))
    )
    if kind is None:
        with pytest.raises(ClusterError, match="of this study ran on"):
            keep_to_one_kind(HERE, found, asked, kept, gpus=True)
    else:
        assert keep_to_one_kind(HERE, found, asked, kept, gpus=True).kind == kind


def test_a_machine_with_gpus_of_several_kinds_is_left_alone_and_by_itself_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mixed = ("m", 8.0, 8.0, "H100", (PCIE, "Tesla T4"))
    found = on_gpus(monkeypatch, mixed, ("a", 8.0, 1.0, "H100", (PCIE,)))
    chosen = keep_to_one_kind(HERE, found, None, None, gpus=True)
    assert (chosen.kind, [node.id for node in chosen.used]) == (PCIE, ["a"])
    assert chosen.left_alone == f"8 GPUs of {PCIE} beside Tesla T4"
    assert not matches({"ray.io/accelerator-type": "H100", "ray.io/node-id": "m"}, chosen.selector)
    with pytest.raises(ClusterError, match=f"{PCIE} beside Tesla T4 .+ CUDA_VISIBLE_DEVICES"):
        keep_to_one_kind(HERE, on_gpus(monkeypatch, mixed), None, None, gpus=True)


@pytest.mark.parametrize(
    ("study", "here", "wrong"),
    [
        (PCIE, (PCIE,), False),
        (PCIE, (MODULE,), True),
        (PCIE, (MODULE, PCIE), True),
        (PCIE, (), False),  # which does not tell
        ("", (MODULE,), False),
    ],
)
def test_a_node_that_joins_later_says_whether_its_gpus_are_of_another_kind(
    monkeypatch: pytest.MonkeyPatch, study: str, here: tuple[str, ...], wrong: bool
) -> None:
    monkeypatch.setattr("cluster.kinds.gpu_names", lambda: here)
    told = wrong_device(study, gpus=True)
    assert (told is not None) is wrong
    if told is not None:
        assert told == (
            f"its node has another GPU ({' beside '.join(here)}) than the study runs on ({PCIE})"
        )


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
