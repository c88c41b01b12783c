"""One run of the driver: how it ends, whatever happens in it."""

import io
import runpy
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from analysis.record import read_record
from cluster.connect import Cluster
from cluster.resources import TrialResources
from search_spaces.cifar_blocks import SPACE
from study.arguments import parser
from study.driving import Shown, _conclude
from study.ending import StopRequest
from study.inputs import StudyInputs
from study.plan import StudyPlan
from study.progress import Progress
from study.record import StudyRecord
from study.resolving import resolve
from study.session import Session
from study.session_time import SessionTime

SAMPLE = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "analysis" / "sample_record.py"))
)


def asked(*arguments: str) -> StudyPlan:
    line = ["--space", "cifar_blocks", "--data", "digits", "--name", "mine", *arguments]
    return resolve(parser().parse_args([*line, "--tracking-uri", "none"]))[0]


def session_of(folder: Path, plan: StudyPlan) -> Session:
    """A run over a study whose folder is there, on a cluster that nobody has started."""
    inputs: Any = StudyInputs(plan, SPACE, None, "key", folder.parent)  # type: ignore[arg-type]
    return Session(
        inputs,
        StudyRecord(folder, plan.name, None),
        Cluster("local", 2, 0, 1, 2),
        TrialResources(1, 0.0, 1),
        Progress(io.StringIO()),
        StopRequest(),
        0.0,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study that has been begun."""
    plan = asked()
    content = {**SAMPLE.plan("mine"), "plan": plan.to_json()}
    return SAMPLE.write_record(tmp_path / "studies" / "mine", plan_content=content, sessions=[])


def test_a_study_that_cannot_go_on_has_failed_and_is_no_mistake_of_its_command_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from study.distillation.teacher_recipe import TeacherError

    def diverge(*_: object) -> None:
        raise TeacherError("the training of the teacher diverged: name a checkpoint")

    monkeypatch.setattr("study.session.prepare", diverge)

    ending = session_of(folder, asked()).run()

    assert (ending.word, ending.exit_code) == ("failed", 1)
    assert [session.end for session in read_record(folder).sessions] == ["failed"]
    assert _conclude(folder, ending, Shown(quiet=True)) == 1
    told = capsys.readouterr().err
    assert told == "error: the training of the teacher diverged: name a checkpoint\n"


def test_a_driver_that_was_taken_over_from_notes_nothing_more(folder: Path) -> None:
    lost, record = threading.Event(), StudyRecord(folder, "mine", None)
    clock = SessionTime(record, time.monotonic(), 2, lost)
    clock.open()
    lost.set()
    clock.enter("confirming")
    noted = read_record(folder).open_session
    assert noted is not None
    assert noted.stage == "starting"


def test_an_error_of_this_program_is_raised_as_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("study.session.prepare", break_down)

    with pytest.raises(ZeroDivisionError):
        session_of(folder, asked()).run()
    assert [session.end for session in read_record(folder).sessions] == ["failed"]
