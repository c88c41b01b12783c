"""Illustrations of a study: which trials, drawn once, kept whole, and never in a study's way."""

import io
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_study import SHAPE, TEACHER, add_student, latency, make_context

from analysis.front import kd_pairs
from analysis.illustration import ATTR_ILLUSTRATIONS, ILLUSTRATIONS_FOLDER, read_pictures
from analysis.results import Confirmation, ReferencePoint
from analysis.stored_plan import Space
from cluster.connect import Cluster
from search_spaces.cifar_blocks import SPACE
from search_spaces.space import PSNR
from study.distillation.teacher import obtain_teacher
from study.distillation.teacher_network import build_network
from study.distillation.teacher_recipe import TeacherError, teacher_key
from study.drawing import Drawing, Kind, Trials
from study.illustrations import Illustrator, kinds_for, recorded
from study.progress import Progress
from study.record import StudyRecord
from study.saliency import SALIENCY, draw, pairs_to_show
from study.trial_context import STUDENT_FILE, TrialContext, trial_folder
from study.trial_teacher import trained_teacher


@dataclass
class Study:
    """A record with finished trials, and what draws their pictures."""

    record: StudyRecord
    context: TrialContext
    cluster: Cluster
    said: io.StringIO

    def add(self, score: float, ratio: float, source: str = "sampler", **overrides: Any) -> int:
        number = add_student(self.record, self.context, score, ratio, source, **overrides)
        self.record.confirm(number, Confirmation(score - 1, latency(ratio)))
        return number

    def student(self, number: int) -> Path:
        return trial_folder(self.record.folder, number) / STUDENT_FILE

    def draw(
        self,
        context: TrialContext | None = None,
        *,
        teacher: str | None = None,
        kinds: Sequence[Kind] = kinds_for(SPACE),
        retries: int = 2,
    ) -> list[str]:
        """Draw what the space has, and return the names of the files there are then."""
        import ray

        used = context or self.context
        illustrator = Illustrator(
            self.record,
            stored_space(),
            used,
            ray.put(used),
            teacher,
            self.cluster,
            Progress(self.said),
            retries,
        )
        illustrator.draw(kinds)
        folder = self.record.folder / ILLUSTRATIONS_FOLDER
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    @property
    def warnings(self) -> list[str]:
        return [line for line in self.said.getvalue().splitlines() if line.startswith("warning")]


def stored_space() -> Space:
    return Space.from_json(SPACE.to_json(None))


@pytest.fixture
def study(tmp_path: Path, cluster: Cluster) -> Study:
    folder = tmp_path / "study"
    folder.mkdir()
    record = StudyRecord(folder, "study", None)
    record.set_attribute("reference_point", ReferencePoint(50.0, 10.0, 100.0).to_json())
    return Study(record, make_context(folder), cluster, io.StringIO())


def test_the_best_distilled_member_of_the_front_is_shown_with_its_control(study: Study) -> None:
    preset = study.add(95.0, 1.5, "preset", blocks_2=0)  # slower and worse than the next
    best = study.add(96.0, 2.0)
    study.add(90.0, 3.0, blocks_4=0)
    study.add(97.0, 1.0, blocks_1=2)  # the best of all, but without a control
    control = study.add(93.0, 2.0, "control", **SPACE.control)
    other = study.add(94.0, 1.5, "control", blocks_2=0, **SPACE.control)

    pairs = list(pairs_to_show(study.record.trials(), stored_space()))

    assert [tuple(t.number for t in pair) for pair in pairs] == [(best, control), (preset, other)]


def test_a_student_that_asked_no_teacher_is_not_shown_beside_one(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.add(96.0, 2.0)
    study.add(93.0, 2.0, "control", **SPACE.control)
    trials, space = study.record.trials(), stored_space()
    (pair,) = kd_pairs(trials, space)
    assert len(list(pairs_to_show(trials, space))) == 1

    taught = replace(pair.distilled, params={**pair.distilled.params, "method": "self"})
    monkeypatch.setattr("study.saliency.kd_pairs", lambda *_: [replace(pair, distilled=taught)])
    assert list(pairs_to_show(trials, space)) == []


def test_teacher_student_and_control_are_drawn_for_the_same_images(study: Study) -> None:
    study.add(96.0, 2.0)
    study.add(93.0, 2.0, "control", **SPACE.control)

    files = study.draw()

    (made,) = recorded(study.record)
    assert study.warnings == []
    assert (made.name, made.trials) == ("saliency", (0, 1))
    titles = [column.title for column in made.columns]
    assert titles == ["Test image", "Teacher", "Distilled", "Control"]
    assert made.columns[1].note == TEACHER.title
    assert len(made.rows) == 4
    assert [row.cells[0].note for row in made.rows] == ["dark <b>"] * 2 + ["light"] * 2
    assert "the first two test images of each class" in made.caption
    for row in made.rows:
        for cell in row.cells[1:]:
            assert cell.right == (cell.note == row.cells[0].note)
    assert sorted(made.files) == files
    assert set(read_pictures(study.record.folder, [made])) == set(files)
    assert len({cell.file for cell in made.rows[0].cells}) == 4


def test_the_drawing_is_the_same_whenever_it_is_drawn(study: Study) -> None:
    study.add(96.0, 2.0)
    study.add(93.0, 2.0, "control", **SPACE.control)
    trials = study.record.trials()

    assert draw(study.context, trials, None) == draw(study.context, trials, None)


def test_what_is_recorded_for_the_same_trials_is_not_drawn_again(study: Study) -> None:
    study.add(96.0, 2.0)
    study.add(93.0, 2.0, "control", **SPACE.control)
    files = study.draw()
    study.student(1).unlink()  # as after the confirmation

    before = study.said.getvalue()
    assert study.draw() == files
    assert study.said.getvalue() == before

    study.add(80.0, 5.0, blocks_4=0)
    assert study.draw() == files
    assert recorded(study.record)[0].trials == (0, 1)


def test_pictures_that_are_lost_are_drawn_again(study: Study) -> None:
    study.add(96.0, 2.0)
    study.add(93.0, 2.0, "control", **SPACE.control)
    files = study.draw()
    (study.record.folder / ILLUSTRATIONS_FOLDER / files[0]).unlink()

    assert study.draw() == files


def test_a_better_pair_takes_the_place_of_the_one_before(study: Study) -> None:
    study.add(96.0, 2.0)
    study.add(93.0, 2.0, "control", **SPACE.control)
    before = study.draw()
    stray = study.record.folder / ILLUSTRATIONS_FOLDER / ".saliency-0-0-ab.png.17.tmp"
    stray.write_bytes(b"half")
    study.add(98.0, 2.5, blocks_3=0)
    study.add(97.0, 2.5, "control", blocks_3=0, **SPACE.control)

    after = study.draw()

    (made,) = recorded(study.record)
    assert made.trials == (2, 3)
    assert sorted(made.files) == after
    assert len(after) == len(before)
    assert after != before


def test_a_pair_whose_students_are_gone_leaves_what_there_is(study: Study) -> None:
    study.add(96.0, 2.0)
    study.add(93.0, 2.0, "control", **SPACE.control)
    files = study.draw()
    study.add(98.0, 2.5, blocks_3=0)
    study.student(study.add(97.0, 2.5, "control", blocks_3=0, **SPACE.control)).unlink()

    assert study.draw() == files
    assert study.warnings == []


def test_a_failure_is_one_warning_and_leaves_nothing_behind(study: Study) -> None:
    study.add(96.0, 2.0)
    study.add(93.0, 2.0, "control", **SPACE.control)
    study.student(1).write_bytes(b"damaged")

    assert study.draw() == []

    assert len(study.warnings) == 1
    assert "no saliency maps: CheckpointError: no checkpoint can be read" in study.warnings[0]
    assert study.record.attribute(ATTR_ILLUSTRATIONS) is None


def test_a_disk_that_takes_no_pictures_is_one_warning(study: Study) -> None:
    study.add(96.0, 2.0)
    study.add(93.0, 2.0, "control", **SPACE.control)
    (study.record.folder / ILLUSTRATIONS_FOLDER).write_text("a file where the folder is to be")

    with pytest.raises(NotADirectoryError):
        study.draw()  # of this test, which lists the folder

    assert len(study.warnings) == 1
    assert "no saliency maps: FileExistsError" in study.warnings[0]
    assert recorded(study.record) == []


def test_what_no_node_is_left_to_draw_is_not_waited_for(study: Study) -> None:
    study.add(96.0, 2.0)
    study.add(93.0, 2.0, "control", **SPACE.control)

    assert study.draw(replace(study.context, threads=10_000)) == []

    assert len(study.warnings) == 1
    assert (
        "no saliency maps: ClusterError: no node of the cluster has 10000 CPUs"
        in (study.warnings[0])
    )


@pytest.mark.parametrize("retries", [0, 1])
def test_who_draws_is_followed_by_another_as_often_as_asked(study: Study, retries: int) -> None:
    def die_once(context: TrialContext, trials: Trials, checkpoint: str | None) -> Drawing:
        mark = Path(context.folder) / "died"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(context, trials, checkpoint)

    study.add(96.0, 2.0)
    study.add(93.0, 2.0, "control", **SPACE.control)

    files = study.draw(kinds=[replace(SALIENCY, draw=die_once)], retries=retries)

    (warning,) = study.warnings
    assert "the worker that draws the saliency maps was lost" in warning
    assert ("(it died); retry 1 of 1" in warning) == bool(retries)
    assert bool(files) == bool(retries)


def test_without_a_pair_nothing_is_drawn_and_nothing_said(study: Study) -> None:
    study.add(96.0, 2.0)

    assert study.draw() == []
    assert study.said.getvalue() == ""


def test_only_spaces_of_classes_and_a_teacher_have_saliency_maps() -> None:
    assert kinds_for(SPACE) == (SALIENCY,)
    assert kinds_for(replace(SPACE, score=PSNR)) == ()
    assert kinds_for(replace(SPACE, teachers={})) == ()


# The teacher as it was trained


def test_a_teacher_of_whom_trials_have_the_answers_alone_is_read_from_its_folder(
    tmp_path: Path,
) -> None:
    context = make_context(tmp_path / "study", weights=False)
    device = torch.device("cpu")
    kept, _ = obtain_teacher(
        tmp_path / "teachers", TEACHER, context.data, device, 0, lambda epoch: None, "float32"
    )

    network = trained_teacher(context.teacher, context.data, context.folder, 0, None)

    assert kept.key == teacher_key(TEACHER, context.data.content_hash, 0)
    expected = kept.model.state_dict()
    assert all(torch.equal(expected[k], v.cpu()) for k, v in network.state_dict().items())
    with pytest.raises(TeacherError, match="cannot be used"):
        trained_teacher(context.teacher, context.data, context.folder, 1, None)


def test_ones_own_teacher_is_read_from_its_checkpoint(tmp_path: Path) -> None:
    context = make_context(tmp_path / "study", weights=False)
    own = build_network(TEACHER, 2, SHAPE)
    torch.save(own.state_dict(), tmp_path / "own.pt")

    network = trained_teacher(
        context.teacher, context.data, context.folder, 0, str(tmp_path / "own.pt")
    )

    assert all(torch.equal(own.state_dict()[k], v) for k, v in network.state_dict().items())
