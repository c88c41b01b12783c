"""One run of the driver: how it ends, whatever happens in it."""

import errno
import io
import runpy
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from analysis.record import read_record
from analysis.results import EpochResult, Latency, Outcome, Usage
from cluster.connect import Cluster
from cluster.resources import TrialResources
from search_spaces.cifar_blocks import SPACE
from study.arguments import parser
from study.budget import Budget, Left
from study.closing import _whereabouts
from study.driving import Shown, _conclude
from study.ending import Ending, StopRequest
from study.inputs import StudyInputs
from study.plan import StudyPlan
from study.progress import Progress
from study.record import StudyRecord
from study.recorder import WAITED
from study.resolving import resolve
from study.session import Session
from study.session_time import SessionTime
from study.summary import summarise
from study.trial_attributes import now
from study.trial_context import student_file

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
        time.monotonic(),
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


def test_time_is_noted_while_a_long_step_goes_on_and_not_once_the_run_is_closed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the training of a teacher counts whose driver is killed meanwhile."""
    noted = []

    def prepare(*arguments: Any) -> None:
        progress: Progress = next(each for each in arguments if isinstance(each, Progress))
        with progress.phase("teacher") as phase:
            for go_on in (lambda: phase.update(1, 3), phase.wait):
                time.sleep(0.05)
                go_on()
                noted.append(read_record(folder).open_session)
        raise KeyboardInterrupt

    monkeypatch.setattr("study.session_time._NOTE_SECONDS", 0.0)
    monkeypatch.setattr("study.session.prepare", prepare)
    session = session_of(folder, asked())

    session.run()
    session._progress.meanwhile()

    first, second = noted
    assert first is not None
    assert second is not None
    assert first.stage == second.stage == "preparing"
    assert 0.05 < first.seconds < second.seconds
    assert read_record(folder).open_session is None


@pytest.mark.parametrize(
    ("left", "bounds"),
    [
        (Left(), ()),
        (Left(each=0.0), ("--budget",)),
        (Left(in_all=0.0), ("--device-hours",)),
        (Left(in_all=0.0, each=900.0), ("--device-hours",)),
        (Left(in_all=900.0, each=0.0), ("--budget",)),
        (Left(in_all=0.0, each=0.0), ("--budget", "--device-hours")),
        # None is spent, and nothing more could come to its end.
        (Left(in_all=100.0, each=60.0, workers=2), ("--device-hours",)),
        (Left(in_all=200.0, each=60.0, workers=2), ("--budget",)),
    ],
)
def test_the_bound_to_widen_is_the_one_that_was_reached(
    left: Left, bounds: tuple[str, ...]
) -> None:
    assert left.bounds == bounds


def test_replicates_that_are_missing_are_had_by_more_of_what_was_spent(tmp_path: Path) -> None:
    plan = asked("--replicates", "3", "--budget", "2h", "--device-hours", "1")
    folder = tmp_path / "other" / "mine"
    trial = SAMPLE.trial(SAMPLE.params(), accuracy=70.0, ratio=3.0)
    trial["attributes"]["usage"] = Usage(0, 3600.0).to_json()
    content = {**SAMPLE.plan("mine"), "plan": plan.to_json()}
    SAMPLE.write_record(folder, [trial], plan_content=content, sessions=[])

    ending = session_of(folder, plan)._without_replicates(
        Ending("budget", 0, "the device-hours were spent")
    )

    assert ending.note == (
        "the device-hours were spent, so no replicates were trained; those missing: `python -m "
        "study resume mine --replicates 3 --device-hours MORE --studies "
        f"{folder.parent}`"
    )


def no_room(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def no_database(*_: object, **__: object) -> None:
    raise OperationalError("SELECT 1", {}, Exception("server closed the connection"))


@pytest.mark.parametrize("where", ["study.session.SessionTime.close", "study.session.publish"])
@pytest.mark.parametrize(
    ("fail", "words"), [(no_room, "is full"), (no_database, "the database with the record does")]
)
@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (Ending("complete", 0), 1),
        (Ending("too many failures", 3, "9 trials failed"), 1),
        (Ending("SIGTERM", 143), 143),
    ],
)
def test_what_stands_in_the_way_of_its_close_alone_halts_a_study_in_one_line(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    where: str,
    fail: Callable[..., None],
    words: str,
    ending: Ending,
    code: int,
) -> None:
    monkeypatch.setattr(Session, "_work", lambda session: ending)
    monkeypatch.setattr(where, fail)

    found = session_of(folder, asked()).run()

    assert (found.word, found.exit_code) == ("halted", code)
    assert words in str(found.note)
    assert str(found.note).startswith(ending.note or "")
    assert dict(_whereabouts(summarise(folder), found))["go on"].endswith("once that is mended")
    assert _conclude(folder, found, Shown(quiet=True)) == code
    assert capsys.readouterr().err == f"error: {found.note}\n"


def test_too_many_failures_end_no_trial_that_has_not_failed(folder: Path) -> None:
    """They are what a resume with a larger `--max-failures` goes on with."""
    session = session_of(folder, asked("--budget", "1h"))
    session._time.open()
    recorder: Any = SimpleNamespace(too_many_failures=lambda: True, device_seconds=0.0, fatal=None)
    queue: Any = SimpleNamespace(out_of_time=False)

    assert session._why_closed(recorder, queue) is None
    recorder.too_many_failures = lambda: False
    assert session._why_closed(recorder, queue) == WAITED


def test_who_waits_when_the_rest_is_kept_for_replicates_is_told_that(folder: Path) -> None:
    session = session_of(folder, asked("--budget", "1h", "--replicates", "3"))
    session._time.open()
    recorder: Any = SimpleNamespace(
        too_many_failures=lambda: False, device_seconds=0.0, fatal=None, cut=True
    )
    queue: Any = SimpleNamespace(out_of_time=False, exhausted="")
    session._reserve = SimpleNamespace(budget=Budget(4, seconds=0.0))  # type: ignore[assignment]

    assert session._why_closed(recorder, queue) == session._ending(recorder, queue).note
    assert "kept for replicates" in str(session._why_closed(recorder, queue))


@pytest.mark.parametrize("where", ["study.session.SessionTime.close", "study.session.publish"])
def test_an_unknown_error_at_its_close_is_raised_as_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Session, "_work", lambda session: Ending("complete", 0))
    monkeypatch.setattr(where, break_down)

    with pytest.raises(ZeroDivisionError):
        session_of(folder, asked()).run()


def test_an_error_of_this_program_is_raised_as_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("study.session.prepare", break_down)

    with pytest.raises(ZeroDivisionError):
        session_of(folder, asked()).run()
    assert [session.end for session in read_record(folder).sessions] == ["failed"]


@pytest.mark.parametrize(
    ("ending", "kept"),
    [
        (Ending("complete", 0), {0}),
        (Ending("budget", 0, "the budget of 2h is spent"), {0, 1}),
        (Ending("too many failures", 3, "9 trials failed"), {0, 1}),
    ],
)
def test_who_may_come_to_the_front_keeps_its_student_while_runs_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: Ending, kept: set[int]
) -> None:
    plan = asked("--replicates", "3", "--budget", "2h")
    folder = tmp_path / "studies" / "mine"
    ahead = SAMPLE.trial(SAMPLE.params(), accuracy=70.0, ratio=9.0)
    rival = SAMPLE.trial(SAMPLE.params((2, 2, 2, 2)), accuracy=69.9, ratio=3.0)
    content = {**SAMPLE.plan("mine"), "plan": plan.to_json()}
    SAMPLE.write_record(folder, [ahead, rival], plan_content=content, sessions=[])
    for number in (0, 1):
        student = student_file(folder, number)
        student.parent.mkdir(parents=True)
        student.write_text("weights")
    illustrator = SimpleNamespace(draw=lambda kinds: None)
    monkeypatch.setattr("ray.put", lambda shared: None)
    told: list[object] = []
    monkeypatch.setattr("study.confirmation.time_front", lambda *given: told.append(given[-1]))
    monkeypatch.setattr("study.confirmation.confirm", lambda *given: told.append(given[-1]))
    monkeypatch.setattr("study.illustrations.Illustrator", lambda *_: illustrator)
    monkeypatch.setattr(Session, "_run_trials", lambda *_: Ending("complete", 0))
    monkeypatch.setattr(Session, "_drive", lambda *_: (None, None))
    monkeypatch.setattr(Session, "_ending", lambda *_: ending)
    lacks_runs = iter([True, ending.word != "complete"])
    monkeypatch.setattr("study.session.lacks_runs", lambda *_: next(lacks_runs))
    session = session_of(folder, plan)
    session._time.open()
    prepared: Any = SimpleNamespace(context=None)

    session._trials_and_front(prepared)

    assert {number for number in (0, 1) if student_file(folder, number).exists()} == kept
    # Each student that cannot be read is told of once, by whichever step finds it first.
    assert told
    assert all(each is session._unreadable for each in told)


def train_again(
    session: Session, reference: object, make_queue: Callable[..., Any], *_: object
) -> Any:
    """Have every further run that is handed out reach what its first did."""
    record, queue = session._record, make_queue(lambda: False, Left)
    while (task := queue.next_task()) is not None:
        first = record.trial(task.number).replicate_of
        assert first is not None
        known = record.trial(first)
        score = known.val_score
        assert known.latency is not None
        assert known.model is not None
        assert score is not None
        record.measured(task.number, known.model, known.latency)
        record.epoch(task.number, EpochResult(1, 1.0, 1.0, score, 0.1, 1.0))
        outcome = Outcome("complete", None, 1, score, known.search_latency_ms, 2.0, now())
        record.finish(task.number, outcome)
        queue.ended(task.number)
    return None, queue


def test_who_comes_to_the_front_when_it_is_timed_gets_its_runs_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = asked("--replicates", "2")
    folder = tmp_path / "studies" / "mine"
    ahead = SAMPLE.trial(SAMPLE.params(terms="ce"), accuracy=70.0, ratio=9.0)
    behind = SAMPLE.trial(SAMPLE.params((1, 1, 1, 0), terms="ce"), accuracy=69.0, ratio=8.0)
    content = {**SAMPLE.plan("mine"), "plan": plan.to_json()}
    SAMPLE.write_record(folder, [ahead, behind], plan_content=content, sessions=[])
    session = session_of(folder, plan)
    record = session._record
    # Before the first round, after it, and after the second.
    timed = iter([(0, 9.0), (1, 10.0), None])

    def time_next(*_: object) -> None:
        found = next(timed)
        if found is not None:
            number, ratio = found
            latency = Latency.from_json(SAMPLE.latency(ratio))
            record.timed(record.trial(number).architecture, latency)

    monkeypatch.setattr("study.confirmation.time_front", time_next)
    monkeypatch.setattr(Session, "_drive", train_again)
    monkeypatch.setattr(Session, "_ending", lambda *_: Ending("complete", 0))
    session._time.open()
    prepared: Any = SimpleNamespace(context=None)

    ending = session._run_replicates(prepared, None, Ending("complete", 0))

    assert (ending.word, ending.exit_code) == ("complete", 0)
    assert [trial.replicate_of for trial in record.trials()] == [None, None, 0, 1]
    assert next(timed, "asked each time") == "asked each time"
    assert summarise(folder).replicates["waiting"] == 0


def test_a_run_left_open_is_trained_although_no_replicates_are_asked_for_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = asked("--replicates", "1")
    folder = tmp_path / "studies" / "mine"
    trial = SAMPLE.trial(SAMPLE.params(terms="ce"), accuracy=70.0, ratio=9.0)
    content = {**SAMPLE.plan("mine"), "plan": plan.to_json()}
    SAMPLE.write_record(folder, [trial], plan_content=content, sessions=[])
    session = session_of(folder, plan)
    replicate = session._record.add_replicate(0, 1)
    monkeypatch.setattr("ray.put", lambda shared: None)
    monkeypatch.setattr("study.confirmation.time_front", lambda *_: None)
    monkeypatch.setattr("study.confirmation.confirm", lambda *_: None)
    illustrator = SimpleNamespace(draw=lambda kinds: None)
    monkeypatch.setattr("study.illustrations.Illustrator", lambda *_: illustrator)
    monkeypatch.setattr(Session, "_run_trials", lambda *_: Ending("complete", 0))
    monkeypatch.setattr(Session, "_drive", train_again)
    monkeypatch.setattr(Session, "_ending", lambda *_: Ending("complete", 0))
    session._time.open()
    prepared: Any = SimpleNamespace(context=None)

    ending = session._trials_and_front(prepared)

    assert ending == Ending("complete", 0)
    assert session._record.trial(replicate).status == "complete"
    assert session._record.interrupted() == []


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        (False, Ending("complete", 0, "every configuration has been tried")),
        (True, Ending("budget", 0, "the budget of 2h is spent")),
    ],
)
def test_an_exhausted_space_is_complete_unless_the_time_cut_a_trial(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cut: bool, expected: Ending
) -> None:
    monkeypatch.setattr(Session, "_spent", lambda *_: "the budget of 2h is spent")
    session = session_of(folder, asked("--budget", "2h"))
    recorder: Any = SimpleNamespace(too_many_failures=lambda: False, device_seconds=0.0, cut=cut)
    queue: Any = SimpleNamespace(exhausted="every configuration has been tried", out_of_time=False)

    assert session._ending(recorder, queue) == expected
