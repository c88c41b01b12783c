"""How a launch ends: by what its run came to, whatever happens while that is kept and told."""

import contextlib
import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from search_spaces.cifar_blocks import SPACE
from study import driving, launch
from study.arguments import parser
from study.driving import Shown, drive
from study.ending import Ending, StopRequest
from study.halting import disk_full
from study.plan import StudyPlan
from study.resolving import resolve

STOPPED = pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a study is to lie; what is temporary lies beside it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(driving, "_load", lambda *_: None)
    monkeypatch.setattr(driving, "_fork_server", lambda _: contextlib.nullcontext())
    return tmp_path / "studies" / "mine"


def plan() -> StudyPlan:
    line = ["--space", "cifar_blocks", "--data", "digits", "--name", "mine"]
    return resolve(parser().parse_args([*line, "--tracking-uri", "none"]))[0]


def driven(folder: Path) -> int:
    return drive(plan(), SPACE, folder.parent, Shown())


def comes_to(monkeypatch: pytest.MonkeyPatch, ending: Ending) -> None:
    monkeypatch.setattr("study.runner.run_study", lambda *_: ending)


def interrupt(signum: signal.Signals) -> Callable[..., None]:
    """What is interrupted by a signal."""

    def interrupted(*_: object) -> None:
        os.kill(os.getpid(), signum)
        time.sleep(10)
        raise AssertionError("it was not interrupted")

    return interrupted


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@contextlib.contextmanager
def last_words(*_: object) -> Iterator[Callable[[str], None]]:
    yield lambda _: None
    interrupt(signal.SIGTERM)()


@pytest.mark.parametrize("ending", [Ending("complete", 0), Ending("no front", 1, "no student")])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["study.logs.keep_log", "study.mirror.send_log"])
def test_a_signal_while_the_log_is_kept_leaves_a_study_its_exit_code(
    where: str,
    signum: signal.Signals,
    ending: Ending,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Ending] = []
    monkeypatch.setattr(driving, "_conclude", lambda _, ending, __: told.append(ending))
    comes_to(monkeypatch, ending)
    monkeypatch.setattr(where, interrupt(signum))

    assert driven(folder) == ending.exit_code
    assert told == [ending]


def test_a_signal_while_the_last_words_are_taken_back_does_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Ending] = []
    monkeypatch.setattr(driving, "_conclude", lambda _, ending, __: told.append(ending))
    comes_to(monkeypatch, Ending("complete", 0))
    monkeypatch.setattr("study.last_words.last_words", last_words)

    assert driven(folder) == 0
    assert [ending.word for ending in told] == ["complete"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_so_does_one_while_its_end_is_told(
    signum: signal.Signals, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comes_to(monkeypatch, Ending("too many failures", 3))
    monkeypatch.setattr(driving, "_conclude", interrupt(signum))

    assert driven(folder) == 3


@STOPPED
@pytest.mark.parametrize("where", ["study.driving._load", "study.logs.keep_log"])
def test_a_launch_that_is_stopped_before_its_first_trial_says_so_with_the_signals_exit_code(
    where: str,
    signum: signal.Signals,
    code: int,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("study.runner.run_study", stopped)
    monkeypatch.setattr(where, interrupt(signum))
    monkeypatch.setattr(launch, "check", lambda *_: None)
    asked = ["--space", "cifar_blocks", "--data", "digits", "--tracking-uri", "none"]

    assert launch.main([*asked, "--name", "mine", "--studies", str(folder.parent)]) == code
    told = "stopped before the first trial; give the same command to go on\n"
    assert capfd.readouterr() == (told, "")


def test_a_log_that_there_is_no_room_for_stays_where_it_is_and_the_end_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    comes_to(monkeypatch, Ending("halted", 1, disk_full(folder)))
    monkeypatch.setattr("study.logs.keep_log", no_room)

    assert driven(folder) == 1
    assert capfd.readouterr().err == f"error: {disk_full(folder)}\n"
    assert len(list(folder.parents[1].glob("study-*.log"))) == 1


def test_so_does_the_traceback_of_a_crash(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def crash(*_: object) -> None:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr("study.runner.run_study", crash)
    monkeypatch.setattr("study.logs.keep_log", no_room)

    assert driven(folder) == 1
    *_, told, where = capfd.readouterr().err.splitlines()
    assert told == "error: ZeroDivisionError: a mistake"
    (log,) = folder.parents[1].glob("study-*.log")
    assert where == f"The traceback is in {log}."


@STOPPED
def test_a_run_that_breaks_as_it_is_stopped_has_the_signals_exit_code(
    signum: signal.Signals,
    code: int,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def stopped(_: object, __: object, stop: StopRequest, ___: object) -> Ending:
        stop.between_trials = True
        os.kill(os.getpid(), signum)
        raise RuntimeError("Ray has ended as well")

    monkeypatch.setattr("study.runner.run_study", stopped)

    assert driven(folder) == code
    assert "error: RuntimeError: Ray has ended as well" in capfd.readouterr().err
