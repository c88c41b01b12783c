"""A worker that is lost while the study is prepared is followed by another."""

import errno
import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.experimental.internal_kv import _internal_kv_list

from analysis.results import DefaultStudent, SoloLatency, Timing
from cluster.connect import Cluster, ClusterError
from cluster.whole_node import NodeShare
from search_spaces.cifar_blocks import SPACE
from study import preparation
from study.arguments import parser
from study.cluster_tasks import ClusterTasks, WorkerLost
from study.death import cut_off
from study.default_student import prepare_default_student
from study.distillation.image_data import Augmentation, ImageData, Split, assemble
from study.distillation.teacher_recipe import TeacherRecipe, teacher_key
from study.distillation.teacher_store import alone_in
from study.inputs import StudyInputs
from study.method_check import check_methods
from study.progress import Progress
from study.resolving import resolve
from study.teacher_worker import TeacherRequest

Seen = tuple[str, Any]


def data() -> ImageData:
    def split(count: int) -> Split:
        return Split(np.zeros((count, 8, 8, 1), np.uint8), np.arange(count, dtype=np.int64) % 2)

    return assemble(
        *("made", ("dark", "light"), split(20), split(10)),
        validation_fraction=0.25,
        augmentation=Augmentation(0, False),
        source="made here",
    )


def die_once(folder: str) -> None:
    """Die, unless somebody has done so here."""
    mark = Path(folder) / "died"
    if not mark.exists():
        mark.touch()
        time.sleep(2)  # what was yielded is on its way
        os.kill(os.getpid(), signal.SIGKILL)


def teach(request: TeacherRequest, data: ImageData, images: object) -> Iterator[Seen]:
    """Stand where the teacher is trained: an epoch a worker, all but the last of which die."""
    done = 1 + len(list(Path(request.teachers).iterdir()))
    yield "epoch", {"epoch": done, "epochs": 2, "val_score": 50.0}
    die_once(request.teachers)
    facts = {"recipe": request.recipe, "weights": None, "precision": "float32"}
    yield "found", {**facts, "val_score": 60.0, "note": "trained", "students_precision": "float32"}
    yield "answers", None


def teach_cut_off(request: TeacherRequest, data: ImageData, images: object) -> Iterator[Seen]:
    """Stand where the teacher is trained, in a folder that does not answer the first worker."""
    mark = Path(request.teachers) / "asked"
    if not mark.exists():
        mark.touch()
        raise cut_off(OSError(errno.ESTALE, os.strerror(errno.ESTALE)))
    facts = {"recipe": request.recipe, "weights": None, "precision": "float32"}
    yield "found", {**facts, "val_score": 60.0, "note": "trained", "students_precision": "float32"}
    yield "answers", None


def check(folder: str, *_: object) -> None:
    """Stand where methods are checked."""
    die_once(folder)


def measure(folder: str, *_: object) -> tuple[DefaultStudent, str]:
    """Stand where the default student is timed."""
    die_once(folder)
    timing = Timing(1.0, 1.0)
    return DefaultStudent("small", 1.0, 1.0, SoloLatency(timing, timing, "cpu", 1)), "float32"


def request_for(folder: Path) -> TeacherRequest:
    return TeacherRequest(
        **{"recipe": TeacherRecipe(depths=(1, 1, 1, 1), epochs=2), "checkpoint": None},
        **{"teachers": str(folder), "seed": 0, "views": 1, "outputs": False, "network": False},
        **{"space": SPACE, "precision": "float32", "asked_precision": "float32"},
        **{"threads": 1, "trial_threads": 1, "on_gpu": False},
    )


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


def prepared(folder: Path, said: io.StringIO, retries: int) -> Any:
    progress = Progress(said)
    tasks = ClusterTasks(
        lambda _: NodeShare(1, 0), "prepares the teacher", retries=retries, warn=progress.warn
    )
    made = data()
    return preparation._get_teachers(request_for(folder), {}, made, made, progress, "%", tasks)


def test_a_teacher_whose_worker_is_lost_is_prepared_by_another(
    cluster: Cluster, tmp_path: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "prepare_teacher", teach)

    found, teachers = prepared(tmp_path, said, retries=1)

    assert found["note"] == "trained"
    assert [teacher.recipe for teacher in teachers] == [request_for(tmp_path).recipe]
    told = said.getvalue()
    assert "warning: the worker that prepares the teacher was lost (it died); retry 1 of 1" in told
    assert "2/2 (50.0 %)" in told  # and went on


def test_a_teacher_that_is_lost_too_often_is_one_line(
    cluster: Cluster, tmp_path: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "prepare_teacher", teach)

    with pytest.raises(WorkerLost, match=r"^the worker that prepares the teacher was lost \(it di"):
        prepared(tmp_path, said, retries=0)
    assert _internal_kv_list(b"study-begun-") == []  # others may share the cluster


@pytest.mark.parametrize("retries", [0, 1])
def test_a_worker_whose_folder_of_teachers_does_not_answer_is_as_good_as_lost(
    cluster: Cluster,
    tmp_path: Path,
    said: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
    retries: int,
) -> None:
    monkeypatch.setattr(preparation, "prepare_teacher", teach_cut_off)
    told = (
        f"was lost (its files are out of reach: OSError: [Errno {errno.ESTALE}] Stale file handle)"
    )

    if retries:
        found, _ = prepared(tmp_path, said, retries)
        assert found["note"] == "trained"
        assert f"warning: the worker that prepares the teacher {told}; retry 1" in said.getvalue()
    else:
        with pytest.raises(WorkerLost) as lost:
            prepared(tmp_path, said, retries)
        assert str(lost.value) == f"the worker that prepares the teacher {told}; mend that first"


def test_a_teacher_that_another_study_trains_is_waited_for_in_words(
    cluster: Cluster, tmp_path: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.progress.Phase.update", lambda *told: notes.append(told[-1]))
    notes: list[str] = []
    request = request_for(tmp_path)
    made = data()
    key = teacher_key(request.recipe, made.content_hash, request.seed)
    with alone_in(tmp_path / f"{key}.training"):
        asking = threading.Thread(target=prepared, args=(tmp_path, said, 0))
        asking.start()
        deadline = time.monotonic() + 60
        while not notes and time.monotonic() < deadline:
            time.sleep(0.1)
    asking.join(120)

    assert notes[0] == "waits for another study that trains it"
    assert "teacher ResNet" in said.getvalue()
    assert not asking.is_alive()


def test_methods_are_checked_by_another_worker_where_one_is_lost(
    cluster: Cluster, tmp_path: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.method_check._check", partial(check, str(tmp_path)))
    plan, space = resolve(parser().parse_args(["--space", "cifar_blocks", "--data", "digits"]))

    check_methods(StudyInputs(plan, space, data(), "key", tmp_path), Progress(said))

    told = said.getvalue()
    assert "the worker that checks the methods was lost (it died); retry 1 of 2" in told


def test_methods_are_not_checked_where_no_node_is_left_that_has_a_trial_s_share(
    cluster: Cluster, tmp_path: Path, said: io.StringIO
) -> None:
    asked = ("--space", "cifar_blocks", "--data", "digits", "--cpus-per-trial", "10000")
    plan, space = resolve(parser().parse_args(asked))

    with pytest.raises(ClusterError, match="no node of the cluster has 10000 CPUs"):
        check_methods(StudyInputs(plan, space, data(), "key", tmp_path), Progress(said))


def test_the_default_student_is_timed_by_another_worker_where_one_is_lost(
    cluster: Cluster, tmp_path: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.default_student._measure", partial(measure, str(tmp_path)))

    found, _ = prepare_default_student(
        *(SPACE, data(), "float32", 0, 1, cluster, Progress(said)), on_gpu=False
    )

    assert found.name == "small"
    told = said.getvalue()
    assert "the worker that times the default student was lost (it died); retry 1 of 2" in told
