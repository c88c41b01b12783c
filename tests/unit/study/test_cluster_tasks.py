"""Tasks of the driver's on a real Ray, whose workers die now and then."""

import io
import os
import signal
import time
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

import pytest
import ray
from ray.experimental.internal_kv import _internal_kv_list

from cluster.connect import Cluster
from cluster.whole_node import NodeShare
from study import cluster_tasks
from study.cluster_tasks import ClusterTasks, WorkerLost, always
from study.halting import halted_by
from study.progress import Phase, Progress


def begun(folder: str) -> int:
    """Note that a task has begun; returns how many had before."""
    before = len(list(Path(folder).glob("[0-9]*")))
    (Path(folder) / str(before)).touch()
    return before


def work(folder: str, deaths: int) -> str:
    """Die as often as is asked, then answer."""
    if begun(folder) < deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def count(folder: str, deaths: int) -> Iterator[int]:
    """The same, in the midst of a stream, once what was yielded before has been read."""
    dies = begun(folder) < deaths
    yield 1
    if dies:
        wait_for(Path(folder) / "read")
        os.kill(os.getpid(), signal.SIGKILL)
    yield 2


def hold(folder: str, number: int) -> None:
    """Leave a file with the number, and stand in the way of others until there is a file `end`."""
    (Path(folder) / str(number)).touch()
    wait_for(Path(folder) / "end")


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 300
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def tasks(cluster: Cluster, warnings: list[str]) -> ClusterTasks:
    return ClusterTasks(
        lambda _: NodeShare(1, 0), "does the work", warn=warnings.append, say_after=0.0
    )


@pytest.fixture
def phase() -> Phase:
    return Phase(Progress(io.StringIO()), "working")


def test_a_task_whose_worker_dies_is_asked_for_again_with_a_warning(
    tasks: ClusterTasks, warnings: list[str], phase: Phase, tmp_path: Path
) -> None:
    assert tasks.run(phase, work, str(tmp_path), 2) == "done"
    assert warnings == [
        f"the worker that does the work was lost (it died); retry {number} of 2"
        for number in (1, 2)
    ]


def test_a_task_that_is_lost_too_often_ends_the_study_with_a_line_and_the_mend(
    tasks: ClusterTasks, phase: Phase, tmp_path: Path
) -> None:
    with pytest.raises(WorkerLost) as said:
        tasks.run(phase, work, str(tmp_path), 9)

    assert len(list(tmp_path.iterdir())) == 3  # nor did Ray try by itself
    told = str(said.value)
    lost, logs = told.split("; look at this machine's memory, and at what Ray logged in ")
    assert lost == "the worker that does the work was lost 3 times (it died)"
    assert list(Path(logs).glob("raylet*"))
    halted = str(halted_by(said.value, Path("studies/mine")))
    assert halted.startswith(f"{told}; nothing that was recorded is lost: then go on with `")
    assert "resume" in halted
    assert "\n" not in halted


def test_while_a_task_goes_on_what_is_due_meanwhile_is_done(
    tasks: ClusterTasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_tasks, "_LOOK_SECONDS", 0.1)
    progress = Progress(io.StringIO())
    progress.meanwhile = (tmp_path / "end").touch

    tasks.run(Phase(progress, "working"), hold, str(tmp_path), 1)

    assert (tmp_path / "end").exists()


def test_who_shares_a_cluster_is_told_to_ask_it(
    tasks: ClusterTasks, phase: Phase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_tasks, "own_ray_logs", lambda: None)
    with pytest.raises(WorkerLost, match=r"\(it died\); see `ray status`$"):
        tasks.run(phase, work, str(tmp_path), 9)


def test_a_task_that_ray_ends_for_want_of_memory_is_not_asked_for_again_and_told_the_mend(
    tasks: ClusterTasks,
) -> None:
    def attempt() -> None:
        asked.append(1)
        raise ray.exceptions.OutOfMemoryError("many lines\nof Ray's")

    asked: list[int] = []
    with pytest.raises(WorkerLost, match=r"free memory there, or .* smaller batch") as said:
        tasks.retried(attempt)
    assert asked == [1]
    assert "--cpus-per-trial" in str(said.value)
    assert "\n" not in str(said.value)
    assert "ray status" not in str(said.value)


def test_each_task_that_waits_for_a_node_that_is_gone_is_asked_for_again(
    cluster: Cluster, phase: Phase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_tasks, "_LOOK_SECONDS", 0.2)
    really = cluster_tasks._alive
    shares = iter([NodeShare(10_000, 0), NodeShare(1, 0), NodeShare(1, 0)])
    with monkeypatch.context() as before:
        before.setattr(cluster_tasks, "_alive", lambda: really() | {"large"})
        tasks = ClusterTasks(lambda _: next(shares), "does the work")
        asked = [tasks.begin(work, str(tmp_path), 0) for _ in range(2)]

    assert [tasks.wait(each, phase) for each in asked] == ["done", "done"]


def test_a_share_that_stays_the_same_is_not_waited_for_once_no_node_has_it(
    cluster: Cluster, phase: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_tasks, "_LOOK_SECONDS", 0.2)
    nodes = ray.nodes()
    large = {"NodeID": "large", "Alive": True, "Resources": {"CPU": 10_000}}
    with monkeypatch.context() as before:
        before.setattr(ray, "nodes", lambda: [*nodes, large])
        tasks = ClusterTasks(always(NodeShare(10_000, 0)), "does the work")
        asked = tasks.begin(divmod, 1, 1)

    with pytest.raises(WorkerLost, match=r"node is gone\), and no node .* has 10000 CPUs$"):
        tasks.wait(asked, phase)


def test_a_stream_whose_worker_dies_is_read_from_its_beginning_again(
    tasks: ClusterTasks, warnings: list[str], phase: Phase, tmp_path: Path
) -> None:
    read: list[list[int]] = []

    def attempt() -> None:
        read.append([])
        with tasks.stream(count, str(tmp_path), 1) as stream:
            for value in stream.values(phase):
                read[-1].append(value)
                break
            assert len(_internal_kv_list(b"study-begun-")) == 1
            (tmp_path / "read").touch()
            read[-1].extend(stream.values(phase))

    tasks.retried(attempt)

    assert _internal_kv_list(b"study-begun-") == []
    assert read == [[1], [1, 2]]
    assert warnings == ["the worker that does the work was lost (it died); retry 1 of 2"]


def no_good(path: str) -> str | None:
    """Say once that a node is no good."""
    if Path(path).exists():
        return None
    Path(path).touch()
    return "its node has another processor"


def test_a_node_that_says_it_is_no_good_is_kept_off(
    cluster: Cluster, warnings: list[str], phase: Phase, tmp_path: Path
) -> None:
    kept_off: list[set[str]] = []

    def find(apart: Collection[str]) -> NodeShare:
        kept_off.append(set(apart))
        return NodeShare(1, 0)

    unfit = partial(no_good, str(tmp_path / "said"))
    tasks = ClusterTasks(find, "does the work", warn=warnings.append, unfit=unfit)

    assert tasks.run(phase, divmod, 7, 2) == (3, 1)
    assert kept_off == [set(), {node["NodeID"] for node in ray.nodes()}]
    assert warnings == [
        "the worker that does the work was lost (its node has another processor); retry 1 of 2"
    ]


def test_an_error_of_the_task_itself_is_raised_as_it_is(
    tasks: ClusterTasks, warnings: list[str], phase: Phase
) -> None:
    with pytest.raises(ZeroDivisionError):
        tasks.run(phase, divmod, 1, 0)
    assert warnings == []


def test_a_task_that_waits_for_room_says_so_until_it_has_it(
    tasks: ClusterTasks, phase: Phase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_tasks, "_LOOK_SECONDS", 0.2)
    notes: list[str] = []
    held_in = tmp_path / "held"
    held_in.mkdir()

    def note(*told: str) -> None:
        notes.append(told[-1])
        (held_in / "end").touch()

    monkeypatch.setattr(phase, "update", note)
    phase.note = "1 of 3"
    others = ray.remote(num_cpus=1)(hold)
    cpus = int(ray.cluster_resources()["CPU"])
    held = [others.remote(str(held_in), number) for number in range(cpus)]
    for number in range(cpus):
        wait_for(held_in / str(number))

    assert tasks.run(phase, work, str(tmp_path), 0) == "done"

    ray.get(held)
    assert set(notes) == {"waits until 1 CPU of one node are free at once"}
    assert phase.note == "1 of 3"
