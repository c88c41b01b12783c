"""The front is confirmed on a real Ray, whatever has become of some of its students."""

import io
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tiny_study import add_student, latency, make_context

from analysis.latency import TieTests
from analysis.results import ATTR_TIE_TESTS, Confirmation, ReferencePoint, TieTest
from cluster.connect import Cluster
from study.confirmation import confirm, time_front
from study.mirror import Mirror
from study.progress import Progress
from study.record import StudyRecord
from study.trial_context import TrialContext, student_file


@dataclass
class Front:
    """A record whose three complete trials are its front, the first of them the fastest."""

    record: StudyRecord
    context: TrialContext
    cluster: Cluster

    def run(self, step: Callable[..., None], *more: object) -> list[str]:
        """Confirm or time it; returns the warnings."""
        import ray

        said = io.StringIO()
        reference = ray.put(self.context)
        shown = Progress(said, quiet=True)
        step(self.record, self.context, reference, self.cluster, shown, *more)
        # A line may be folded.
        return [f"t{rest}" for rest in said.getvalue().replace("\n", "").split("warning: t")[1:]]

    def damage(self, number: int) -> None:
        path = student_file(self.record.folder, number)
        os.truncate(path, path.stat().st_size // 2)


def recorded_tests(record: StudyRecord) -> tuple[TieTest, ...]:
    return TieTests.from_json(record.attribute(ATTR_TIE_TESTS)).tests


@pytest.fixture
def empty(tmp_path: Path, cluster: Cluster) -> Front:
    """A record without trials."""
    folder = tmp_path / "study"
    folder.mkdir()
    record = StudyRecord(folder, "study", None)
    record.set_attribute("reference_point", ReferencePoint(50.0, 10.0, 100.0).to_json())
    return Front(record, make_context(folder, timing_seconds=0.2), cluster)


@pytest.fixture
def front(empty: Front) -> Front:
    add_student(empty.record, empty.context, 90.0, 4.0, blocks_3=0, blocks_4=0)
    add_student(empty.record, empty.context, 93.0, 3.0, blocks_4=0)
    add_student(empty.record, empty.context, 96.0, 2.0)
    return empty


def test_a_student_that_cannot_be_read_costs_a_warning_and_the_others_are_confirmed(
    front: Front,
) -> None:
    front.damage(0)  # the fastest, with which the A/A test would be done
    front.damage(2)

    warnings = front.run(confirm)

    assert [trial.confirmed is not None for trial in front.record.trials()] == [False, True, False]
    assert [line.split(" (")[0] for line in warnings] == [
        f"{name} could not be confirmed: no checkpoint can be read at "
        f"{student_file(front.record.folder, number)}"
        for number, name in ((0, "t0000"), (2, "t0002"))
    ]
    assert "does not match its checksum" in warnings[0]
    (tested,) = recorded_tests(front.record)
    assert tested.architecture == front.record.trial(1).architecture


def test_where_students_have_two_paces_copies_of_the_fastest_of_either_are_timed(
    empty: Front,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The fastest by the metronome is number 0, and number 1 by the teacher."""
    record, asked = empty.record, tmp_path / "asked"
    fast = {"paced_by": "metronome", "blocks_4": 0}
    names = [
        record.trial(add_student(record, empty.context, *how, **more)).architecture
        for how, more in (
            ((90.0, 5.0), {**fast, "blocks_3": 0}),
            ((93.0, 4.0), {"blocks_2": 2}),
            ((94.0, 3.0), fast),
            ((96.0, 2.0), {}),
        )
    ]

    def time_copies(_: Any, number: int, architecture: str, within: float) -> TieTest:
        with asked.open("a") as file:
            file.write(f"{number}\n")
        return TieTest(architecture, (1.0, 1.0), (0.02, 0.08)[number])

    monkeypatch.setattr("study.confirmation.time_copies", time_copies)
    empty.run(confirm)

    assert asked.read_text().split() == ["0", "1"]
    assert recorded_tests(record) == (
        TieTest(names[0], (1.0, 1.0), 0.02, "metronome"),
        TieTest(names[1], (1.0, 1.0), 0.08, "teacher"),
    )


@pytest.mark.parametrize(
    ("known", "asked_for"), [({"paced_by": "metronome"}, 1), ({"paced_by": None}, 0), ({}, 0)]
)
def test_a_study_that_has_come_to_another_pace_has_copies_timed_by_that_one_too(
    known: dict[str, str | None],
    asked_for: int,
    empty: Front,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not one whose record has a test of all students, as it was taken before."""
    record = empty.record
    by_teacher = record.trial(add_student(record, empty.context, 93.0, 4.0)).architecture
    first = {"architecture": "[0]", "ratios": [1.0, 1.0], "spread": 0.02, **known}
    record.set_attribute(ATTR_TIE_TESTS, {"tests": [first]} if known else first)
    second = TieTest(by_teacher, (1.0, 1.0), 0.08)
    monkeypatch.setattr("study.confirmation.time_copies", lambda *_: second)

    empty.run(confirm)

    tests = recorded_tests(record)
    assert tests[0] == TieTest.from_json(first)
    assert tests[1:] == (replace(second, paced_by="teacher"),) * asked_for


@pytest.mark.parametrize("step", [confirm, time_front])
def test_a_pace_that_comes_to_the_front_with_the_first_latencies_is_tested_as_well(
    step: Callable[..., None], empty: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small one was timed too fast beside others: idle, a large one comes near it."""
    record = empty.record
    fast = {"paced_by": "metronome", "blocks_4": 0}
    small = add_student(record, empty.context, 95.0, 5.0, **fast)
    large = add_student(record, empty.context, 94.0, 4.0, blocks_2=2)
    by_metronome = replace(latency(3.8), paced_by="metronome", reference_ms=10.0)

    idle = {small: by_metronome, large: latency(4.0)}
    monkeypatch.setattr(
        "study.confirmation.time_copies",
        lambda _, number, architecture, within: TieTest(architecture, (1.0, 1.0), 0.01 + number),
    )
    monkeypatch.setattr(
        "study.confirmation._confirm", lambda _, number, *more: Confirmation(90.0, idle[number])
    )
    monkeypatch.setattr("study.confirmation._time", lambda _, number: idle[number])
    empty.run(step)

    assert [(test.paced_by, test.spread) for test in recorded_tests(record)] == [
        *(("metronome", 0.01), ("teacher", 1.01))
    ]


def test_a_study_of_which_no_student_can_be_read_comes_to_its_end(front: Front) -> None:
    for number in range(3):
        front.damage(number)

    assert len(front.run(confirm)) == 3
    assert front.record.attribute(ATTR_TIE_TESTS) is None
    assert all(trial.confirmed is None for trial in front.record.trials())


def test_of_the_front_that_is_timed_one_that_cannot_be_read_is_passed_over(front: Front) -> None:
    front.damage(1)

    warnings = front.run(time_front)

    timed = [trial.idle_latency is not None for trial in front.record.trials()]
    assert timed == [True, False, True]
    (line,) = warnings
    assert line.startswith("t0001 could not be timed on the idle device: no checkpoint can be read")


def test_a_student_that_cannot_be_read_is_told_of_once_by_one_driver(front: Front) -> None:
    front.damage(1)
    unreadable: dict[int, str] = {}

    (line,) = front.run(time_front, 2, unreadable)

    assert line.startswith("t0001 could not be timed on the idle device")
    assert unreadable.keys() == {1}
    front.damage(2)
    assert front.run(time_front, 2, unreadable) == []
    (line,) = front.run(confirm, 2, unreadable)
    assert line.startswith("t0002 could not be confirmed")
    assert [trial.confirmed is not None for trial in front.record.trials()] == [True, False, False]


def test_a_member_of_the_front_whose_student_is_not_kept_is_told_with_what_that_means(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_searched = [latency(4.0), latency(3.0), latency(2.0)]
    monkeypatch.setattr(
        "study.confirmation._confirm",
        lambda _, number, *more: Confirmation(9.0, as_searched[number]),
    )
    monkeypatch.setattr(
        "study.confirmation.time_copies", lambda *_: TieTest("tested", (1.0, 1.0), 0.01)
    )
    record = front.record
    off = add_student(record, front.context, 92.0, 1.0, source="preset", blocks_1=2)
    for number in (0, off):
        student_file(record.folder, number).unlink()
    front.run(confirm)
    student_file(record.folder, 1).unlink()

    warnings = front.run(confirm)

    anew = "; to have it, train it in a study of its own, its parameters held by `--fix`"
    lost = "is on the front, but its student is not kept any more: it cannot be exported"
    assert [" ".join(line.split()) for line in warnings] == [
        f"t{off:04d} could not be confirmed: its student is not kept any more",
        f"t0000 {lost}, nor scored on the test split{anew}",
        f"t0001 {lost}{anew}",
    ]


def test_a_student_that_the_object_store_has_no_longer_is_one_that_is_not_kept(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver's own copy is there; the worker, who is to have it from the store, finds none."""
    folder = front.record.folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parent / "cache"))
    mirror = Mirror("s3://bucket/studies")
    place = student_file(mirror.folder / folder.name, 0)
    assert not place.exists()
    lost = TrialContext(**{**vars(front.context), "mirror": mirror})
    monkeypatch.setattr("study.object_store.ObjectStore.get", lambda *_: False)
    # In this process, which alone knows of the store that has nothing.
    monkeypatch.setattr("study.confirmation.WholeNodeWorker.run", in_process(lost))

    warnings = front.run(confirm)

    assert len(warnings) == 3
    assert all("no such file or directory" in line for line in warnings)
    assert all(trial.confirmed is None for trial in front.record.trials())


def in_process(context: TrialContext) -> Callable[..., object]:
    def run(self: object, phase: object, task: Callable[..., object], *arguments: object) -> object:
        return task(context, *arguments)

    return run
