"""`python -m study status` on real records and real locks, from a pipe and from a terminal."""

import io
import json
import os
import pty
import runpy
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from analysis.results import EpochResult, Session, Usage
from study.closing import _whereabouts
from study.ending import Ending
from study.listing import StudyStatus, status_of, study_states, study_table
from study.lock import LOCK_FILE, Holder, StudyLock
from study.record import StudyRecord
from study.session_time import SessionTime
from study.status_view import changes, headline, print_status, reason_lines
from study.summary import summarise
from study.tracking.notes import closing_note

REPOSITORY = Path(__file__).parents[3]
SAMPLE = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "analysis" / "sample_record.py"))
)


def write(folder: Path, trials: list[Any], *, planned: int, end: str | None = "complete") -> Path:
    sessions = [] if end is None else [Session("2025-03-04T09:00:00+00:00", 60.0, end).to_json()]
    content = SAMPLE.plan(folder.name, trials=planned)
    SAMPLE.write_record(folder, trials, plan_content=content, sessions=sessions)
    return folder


def finished(**options: Any) -> Any:
    return SAMPLE.trial(SAMPLE.params(), accuracy=70.0, ratio=3.0, **options)


def begun(*, done: int | None = 2, **options: Any) -> Any:
    values = SAMPLE.params((2, 0, 0, 0))
    accuracy = None if done is None else 60.0
    return SAMPLE.trial(values, accuracy=accuracy, ratio=4.0, status=None, done=done, **options)


def status(folder: Path) -> StudyStatus:
    return status_of(summarise(folder))


def shown(found: StudyStatus, width: int = 80) -> str:
    stream = io.StringIO()
    print_status(found, Console(file=stream, width=width))
    return stream.getvalue()


# What is said


def test_trials_that_were_planned_and_have_not_begun_are_waiting(tmp_path: Path) -> None:
    some = write(tmp_path / "some", [finished(), begun()], planned=5)
    # The plan was made smaller by a later run.
    more = write(tmp_path / "more", [finished(), finished(), begun()], planned=2)

    assert status(some).to_json()["counts"] == {
        **{"complete": 1, "stopped": 0, "infeasible": 0, "failed": 0, "running": 1},
        "paused": 0,
        "waiting": 3,
    }
    assert status(more).to_json()["counts"]["waiting"] == 0


def test_trials_that_wait_at_a_rung_are_told_from_those_that_run(tmp_path: Path) -> None:
    trials = [finished(), begun(), begun(done=3), begun(done=3)]
    for trial in trials[2:]:
        trial["attributes"]["waits"] = 3
    # It waited, and goes on now.
    trials[1]["attributes"]["waits"] = None
    found = status(write(tmp_path / "study", trials, planned=6))

    body = found.to_json()
    assert {k: body["counts"][k] for k in ("running", "paused", "waiting")} == {
        **{"running": 1, "paused": 2, "waiting": 2},
    }
    assert [each["trial"] for each in body["running"]] == [1]
    assert [(each["trial"], each["rung"]) for each in body["paused"]] == [(2, 3), (3, 3)]
    assert body["state"] == "interrupted"
    text = shown(found)
    assert "1 interrupted, 2 waiting at a rung, 2 to come" in text
    before, after = text.split("\nwaiting at a rung")
    assert "t0001" in before
    assert "t0002" in after
    assert "t0003" in after


def test_watching_tells_who_begins_to_wait_and_who_goes_on(tmp_path: Path) -> None:
    runs, waits = begun(done=2), begun(done=3)
    waits["attributes"]["waits"] = 3
    goes_on = begun(done=3)
    looks = [
        status(write(tmp_path / name, [trial], planned=2))
        for name, trial in (("a", runs), ("b", waits), ("c", goes_on))
    ]

    (waited,) = changes(looks[0], looks[1])
    (went_on,) = changes(looks[1], looks[2])
    assert waited.endswith("waits there")
    assert went_on.endswith("goes on")


def test_retries_and_device_time_are_those_of_all_trials(tmp_path: Path) -> None:
    trials = [finished(), finished(), begun()]
    for trial, retries in zip(trials, (2, 0, 1), strict=True):
        trial["attributes"]["usage"] = Usage(retries, 120.0).to_json()
    folder = write(tmp_path / "study", trials, planned=3)

    found = status(folder)

    body = found.to_json()
    assert (body["retries"], body["device_seconds"]) == (3, 360.0)
    assert body["running"][0]["retries"] == 1
    assert "6\u00a0min of device time, 3\u00a0retries" in shown(found)


def test_a_driver_without_a_trial_yet_is_seen_to_prepare(tmp_path: Path) -> None:
    folder = write(tmp_path / "study", [], planned=4, end=None)
    with StudyLock(folder):
        found = status(folder)

    assert (found.state, found.phase) == ("running", "preparing")
    assert headline(found) == "study: running, preparing the teacher; no trial yet"
    body = found.to_json()
    assert (body["driver"]["pid"], body["resume"]) == (os.getpid(), None)
    assert status(folder).state == "interrupted"


def test_a_study_whose_lock_cannot_be_read_is_listed_with_the_reason_beside_the_others(
    tmp_path: Path,
) -> None:
    for name in ("sound", "locked"):
        write(tmp_path / name, [finished()], planned=1, end="complete")
    (tmp_path / "locked" / LOCK_FILE).mkdir()

    found = {state["name"]: state for state in study_states(tmp_path)}

    assert found["sound"]["state"] == "finished"
    assert found["locked"]["state"] == "damaged"
    assert "the lock of study locked cannot be read" in found["locked"]["reason"]


def test_the_wall_time_of_a_running_driver_counts(tmp_path: Path) -> None:
    folder = write(tmp_path / "study", [begun()], planned=4, end="SIGINT")
    with StudyLock(folder) as lock:
        earlier = replace(Holder.me(), since="2000-01-01T00:00:00+00:00")
        lock._path.write_text(json.dumps(asdict(earlier)))
        running = status(folder).seconds
        lock._path.write_text(json.dumps(asdict(Holder.me())))

    assert running > 20 * 365 * 86_400
    assert status(folder).seconds == 60.0


def test_the_wall_time_of_a_killed_driver_counts_as_far_as_it_was_noted(tmp_path: Path) -> None:
    folder = write(tmp_path / "study", [finished()], planned=4, end="complete")
    record = StudyRecord(folder, folder.name, None)
    noted = Session("2025-03-05T09:00:00+00:00", 240.0, "killed")
    record.set_attribute("open_session", noted.to_json())
    killed = status(folder)
    # A driver killed while it closed its run has added it already.
    record.set_attribute("sessions", [noted.to_json()])

    assert (killed.seconds, killed.state) == (300.0, "interrupted")
    assert status(folder).seconds == 240.0


def test_a_study_whose_last_trials_have_ended_is_confirming(tmp_path: Path) -> None:
    folder = write(tmp_path / "study", [finished()], planned=1, end=None)
    with StudyLock(folder):
        assert headline(status(folder)) == "study: running, confirming the front"


@pytest.mark.parametrize(
    ("stage", "phase", "told"),
    [
        ("starting", "preparing", ", preparing the teacher"),
        ("preparing", "preparing", ", preparing the teacher"),
        ("trials", "trials", ""),
        ("replicates", "replicates", ", replicates 0 of 0"),
        ("confirming", "confirming", ", confirming the front"),
    ],
)
def test_what_a_driver_is_at_is_what_it_tells_the_record(
    tmp_path: Path, stage: str, phase: str, told: str
) -> None:
    """Of a search that a budget ended there are trials still to come, which never will."""
    folder = write(tmp_path / "study", [finished()], planned=9, end=None)
    with StudyLock(folder):
        clock = SessionTime(StudyRecord(folder, folder.name, None), time.monotonic(), 2)
        clock.open()
        clock.enter(stage)
        found = status(folder)

    assert found.phase == phase
    assert headline(found) == f"study: running{told}"


def test_what_a_killed_driver_was_at_is_not_what_the_next_one_is_at(tmp_path: Path) -> None:
    folder = write(tmp_path / "study", [finished()], planned=9, end=None)
    record = StudyRecord(folder, folder.name, None)
    killed = Session("2025-03-05T09:00:00+00:00", 240.0, "killed", stage="confirming")
    record.set_attribute("open_session", killed.to_json())
    with StudyLock(folder):
        assert status(folder).phase == "trials"


@pytest.mark.parametrize("end", ["SIGINT", "SIGTERM", None])
def test_an_interrupted_study_names_the_command_that_goes_on_with_it(
    tmp_path: Path, end: str | None
) -> None:
    folder = write(tmp_path / "a study", [finished()], planned=4, end=end)

    found = status(folder)

    assert found.state == "interrupted"
    assert found.resume == f"python -m study resume 'a study' --studies {tmp_path}"
    assert found.resume in headline(found)


def test_the_usual_folder_of_studies_is_not_spelt_out(tmp_path: Path) -> None:
    found = status(write(tmp_path / "study", [begun()], planned=4))
    here = replace(found, summary=replace(found.summary, folder=Path("studies") / "study"))

    assert here.resume == "python -m study resume study"


@pytest.mark.parametrize(
    ("end", "state", "goes_on"),
    [
        ("complete", "finished", False),
        ("budget", "finished (budget spent)", False),
        ("no front", "no front", False),
        ("too many failures", "too many failures", True),
        ("halted", "halted", True),
    ],
)
def test_how_a_study_ended_is_its_state(
    tmp_path: Path, end: str, state: str, goes_on: bool
) -> None:
    found = status(write(tmp_path / "study", [finished()], planned=1, end=end))

    assert found.state == state
    assert (found.resume is not None) is goes_on


def test_a_study_without_a_front_says_why(tmp_path: Path) -> None:
    record = write(tmp_path / "study", [begun(done=2)], planned=1, end="no front")
    found = replace(status(record), state="no front")

    assert "no trial was trained to the end, so there is no front" in shown(found)
    assert "no front" not in shown(replace(found, state="finished"))


def test_names_in_a_list_are_whole_on_narrow_terminals(tmp_path: Path) -> None:
    name = "cifar_blocks-my_photographs-of_birds"
    write(tmp_path / name, [finished()], planned=1)
    stream = io.StringIO()
    Console(file=stream, width=80).print(study_table(study_states(tmp_path), 80))
    lines = stream.getvalue().splitlines()

    assert "".join(line.partition(" ")[0] for line in lines[1:]) == name


def test_the_best_score_in_a_list_is_named_a_validation_score(tmp_path: Path) -> None:
    write(tmp_path / "some", [finished()], planned=1, end="complete")
    stream = io.StringIO()
    Console(file=stream, width=80).print(study_table(study_states(tmp_path), 80))
    heading, row = stream.getvalue().splitlines()

    assert heading.split() == ["study", "state", "trials", "front", "best", "val", "age"]
    ends = heading.index("best val") + len("best val")
    assert row[:ends].endswith("% accuracy")


@pytest.mark.parametrize(("failed", "allow"), [(3, None), (4, "0.6"), (5, "0.7"), (8, "1")])
def test_after_too_many_failures_it_is_named_how_many_to_allow(
    tmp_path: Path, failed: int, allow: str | None
) -> None:
    """A resume that allows no more counts the same failures, and ends at once."""
    reason = "loss is not finite at epoch 3"
    trials = [finished(status="failed", done=2, reason=reason) for _ in range(failed)]
    trials += [finished() for _ in range(min(3, 8 - failed))]
    ended = "complete" if allow is None else "too many failures"
    folder = write(tmp_path / "study", trials, planned=20, end=ended)
    found = status(folder)

    assert found.summary.failures_to_allow == (None if allow is None else float(allow))
    told = dict(_whereabouts(found.summary, Ending(ended, 0 if allow is None else 3)))["go on"]
    if allow is None:
        assert told == "give the same command again with a larger --trials or --budget"
    else:
        assert told == f"give the same command again with --max-failures {allow}"
        assert found.resume == (
            f"python -m study resume study --max-failures {allow} --studies {tmp_path}"
        )


def test_too_many_failures_leave_who_waits_to_a_resume_that_allows_more(tmp_path: Path) -> None:
    """Of 26 epochs trials wait after the second."""
    asked = {"scheduler": "pause", "max_epochs": 26, "max_failures": 0.2}
    failed = [finished(status="failed", done=1, reason="the loss is nan") for _ in range(3)]
    trials = [*failed, *(begun(done=2) for _ in range(4)), begun(done=1)]
    content = SAMPLE.plan("study", trials=20)
    content["plan"] |= asked
    ended = Session("2025-03-04T09:00:00+00:00", 60.0, "too many failures").to_json()
    folder = tmp_path / "study"
    SAMPLE.write_record(folder, trials, plan_content=content, sessions=[ended])
    record = StudyRecord(folder, "study", None)
    for number in (3, 4, 5):
        record.waits(number, 2)
    found = status(folder)

    assert found.state == "too many failures"
    assert found.summary.failures_to_allow == 0.5  # three of the seven that tell
    assert str(found.resume).startswith("python -m study resume study --max-failures 0.5 ")
    assert (found.summary.counts["paused"], found.summary.counts["running"]) == (3, 2)
    assert found.summary.counts["stopped"] == 0
    # A driver that allows more was killed since.
    record.set_attribute(
        "open_session", Session("2025-03-05T09:00:00+00:00", 9.0, "killed").to_json()
    )
    assert status(folder).state == "interrupted"


@pytest.mark.parametrize(
    ("word", "code", "told"),
    [
        ("SIGINT", 130, "to continue"),
        ("halted", 1, "once that is mended"),
        ("failed", 1, "once that is mended"),
        ("lock lost", 4, "once the other driver has ended"),
        ("no front", 1, "with a larger --trials or --budget"),
    ],
)
def test_how_a_study_goes_on_depends_on_how_it_ended(
    tmp_path: Path, word: str, code: int, told: str
) -> None:
    found = status(write(tmp_path / "study", [finished()], planned=4, end=word))
    lines = dict(_whereabouts(found.summary, Ending(word, code)))
    assert lines["go on"] == f"give the same command again {told}"


def test_a_killed_driver_leaves_an_interrupted_study_even_if_it_had_once_finished(
    tmp_path: Path,
) -> None:
    folder = write(tmp_path / "study", [finished()], planned=4, end="complete")
    code = (
        "import os, sys; from pathlib import Path; from study.lock import StudyLock\n"
        "StudyLock(Path(sys.argv[1])).__enter__(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=REPOSITORY, check=False)

    assert (folder / LOCK_FILE).exists()
    assert status(folder).state == "interrupted"


def test_a_driver_elsewhere_that_has_long_not_beaten_is_silent(tmp_path: Path) -> None:
    folder = write(tmp_path / "study", [begun()], planned=4)
    elsewhere = replace(Holder.me(), host="node-7", system="another", pid=1)
    (folder / LOCK_FILE).write_text(json.dumps(asdict(elsewhere)))
    running = status(folder)
    os.utime(folder / LOCK_FILE, (time.time() - 3600, time.time() - 3600))
    silent = status(folder)

    assert (running.state, running.resume) == ("running", None)
    assert silent.state == "silent"
    assert "no sign of life of process 1 on node-7" in headline(silent)
    assert silent.resume is not None


def test_of_a_thousand_reasons_the_last_ten_are_shown(tmp_path: Path) -> None:
    reason = "loss is not finite at epoch 3"
    failed = [finished(status="failed", done=2, reason=reason) for _ in range(1_000)]
    found = status(write(tmp_path / "study", failed, planned=1_000))

    lines = reason_lines(found, 10)

    assert lines[0] == "… and 990 earlier ones that did not complete"
    assert [line.split()[0] for line in lines[1:]] == [f"t{n:04d}" for n in range(990, 1_000)]
    assert len(shown(found).splitlines()) < 20


def test_disk_use_is_told_in_bytes_and_to_people(tmp_path: Path) -> None:
    folder = write(tmp_path / "study", [finished()], planned=1)
    (folder / "checkpoints" / "t0000").mkdir(parents=True)
    (folder / "checkpoints" / "t0000" / "student.pt").write_bytes(b"x" * 2_000_000)
    (tmp_path / "teachers").mkdir()
    (tmp_path / "teachers" / "weights.pt").write_bytes(b"x" * 3_000_000)

    found = status(folder)

    disk = found.to_json()["disk_bytes"]
    assert disk["checkpoints"] == 2_000_000
    assert disk["record"] == sum((folder / n).stat().st_size for n in ("plan.json", "journal.log"))
    assert disk["total"] == disk["checkpoints"] + disk["record"]
    assert "checkpoints 2.00\u00a0MB" in shown(found)
    assert "shared by all studies: teachers 3.00\u00a0MB" in shown(found)


def test_every_change_of_a_trial_is_one_line(tmp_path: Path) -> None:
    confirmed = finished(confirmed=(69.5, 3.1))
    ended = finished(status="stopped", done=3, reason="behind t0000")
    retried = begun(done=3)
    retried["attributes"]["usage"] = Usage(1, 10.0).to_json()
    earlier = status(write(tmp_path / "a" / "study", [finished(), begun(), begun()], planned=9))
    later = status(
        write(tmp_path / "b" / "study", [confirmed, ended, retried, begun(done=None)], planned=9)
    )

    assert list(changes(earlier, earlier)) == []
    assert list(changes(earlier, later)) == [
        "t0000 [1,1,1,1] stride 2: accuracy 69.50\u00a0% on the test split",
        "[2/9] t0001 [1,1,1,1] stride 2: stopped at epoch 3, behind t0000",
        "t0002 [2,0,0,0] stride 2: its worker died; going on from epoch 3",
        f"t0002 [2,0,0,0] stride 2: epoch 3/30, "
        f"accuracy {later.summary.trials[2].val_score:.2f}\u00a0%",
        "t0003 [2,0,0,0] stride 2: begun",
    ]


# Watching: a process of its own looks at a record that this one writes


class Watched:
    """A study that this process drives, as far as anybody can tell: its lock and its record."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = StudyLock(folder)
        self.record = StudyRecord(folder, folder.name, None)

    def epoch(self, number: int, epoch: int) -> None:
        self.record.epoch(number, EpochResult(epoch, 1.0, 1.1, 50.0 + epoch, 0.05, 3.0))

    def end(self) -> None:
        self.record.add_session(Session("2026-01-01T00:00:00+00:00", 9.0, "SIGINT"))
        self.lock.__exit__()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    folder = write(tmp_path / "study", [begun(done=None)], planned=3, end=None)
    driven = Watched(folder)
    with driven.lock:
        yield driven


@contextmanager
def watching(
    folder: Path, *options: str, stdout: int = subprocess.PIPE, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    words = ("-m", "study", "status", folder.name, "--watch", "--studies", str(folder.parent))
    process = subprocess.Popen(
        [sys.executable, *words, *options],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def lines_until(process: subprocess.Popen[str], wanted: str) -> list[str]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if wanted in line:
            return lines
    pytest.fail(f"{wanted!r} never came; there was {lines}")


def test_in_a_pipe_every_change_is_a_line_and_the_final_state_comes_once(watched: Watched) -> None:
    with watching(watched.folder) as process:
        first = lines_until(process, "on disk")
        watched.epoch(0, 1)
        changed = lines_until(process, "epoch 1/30")
        watched.end()
        rest, errors = process.communicate(timeout=60)

    assert first[0] == "study: running"
    assert changed == ["t0000 [2,0,0,0] stride 2: epoch 1/30, accuracy 51.00\u00a0%"]
    assert rest.count("study: interrupted; go on with: python -m study resume study") == 1
    assert rest.startswith("study: interrupted")
    assert (process.returncode, errors) == (0, "")
    assert "\x1b" not in "".join(first + changed) + rest


def test_watched_as_json_every_change_is_one_object(watched: Watched) -> None:
    with watching(watched.folder, "--json") as process:
        assert process.stdout is not None
        before = json.loads(process.stdout.readline())
        watched.epoch(0, 1)
        changed = json.loads(process.stdout.readline())
        watched.end()
        rest, errors = process.communicate(timeout=60)

    (last,) = map(json.loads, rest.splitlines())
    assert [body["running"][0]["epoch"] for body in (before, changed, last)] == [0, 1, 1]
    assert (before["state"], changed["state"], last["state"]) == (*["running"] * 2, "interrupted")
    assert (process.returncode, errors) == (0, "")


def test_what_is_not_running_is_shown_once(tmp_path: Path) -> None:
    folder = write(tmp_path / "study", [finished()], planned=1)
    with watching(folder) as text, watching(folder, "--json") as objects:
        answer, _ = text.communicate(timeout=60)
        body, _ = objects.communicate(timeout=60)

    assert answer.count("study: finished") == 1
    assert json.loads(body)["state"] == "finished"
    assert (text.returncode, objects.returncode) == (0, 0)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_it_ends_quietly_when_nobody_reads_any_more(
    watched: Watched, options: tuple[str, ...]
) -> None:
    with watching(watched.folder, *options) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        watched.epoch(0, 1)
        errors = process.stderr.read()
        process.wait(timeout=60)

    assert (process.returncode, errors) == (1, "")


def read_terminal(terminal: int, wanted: str) -> str:
    seen = ""
    deadline = time.monotonic() + 60
    while wanted not in seen and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                seen += os.read(terminal, 65_536).decode()
            except OSError:  # the other end was closed
                break
    assert wanted in seen, seen
    return seen


def test_on_a_terminal_it_is_redrawn_in_place_and_ctrl_c_ends_it_with_success(
    watched: Watched,
) -> None:
    terminal, theirs = pty.openpty()
    with watching(
        watched.folder, stdout=theirs, TERM="xterm-256color", COLUMNS="80", LINES="24"
    ) as process:
        os.close(theirs)
        seen = read_terminal(terminal, "0/30")
        watched.epoch(0, 1)
        seen += read_terminal(terminal, "1/30")
        process.send_signal(signal.SIGINT)
        rest = read_terminal(terminal, "1/30")
        process.wait(timeout=60)
        assert process.stderr is not None
        errors = process.stderr.read()
    os.close(terminal)

    assert "\x1b[1A" in seen  # the cursor goes up, to draw over what was there
    assert "\x1b[2J" not in seen + rest
    assert "\x1b[?1049h" not in seen + rest
    assert (process.returncode, errors) == (0, "")


def further(item: dict[str, Any], first: int, run: int) -> dict[str, Any]:
    """The trial as another run of the one numbered `first`."""
    asked = {"source": "replicate", "replicate": [first, run]}
    return {**item, "attributes": {**item["attributes"], **asked}}


def test_replicates_are_told_apart_from_trials(tmp_path: Path) -> None:
    trials = [finished(), further(finished(), 0, 1), further(begun(), 0, 2)]
    folder = write(tmp_path / "some", trials, planned=1, end=None)
    document = json.loads((folder / "plan.json").read_text())
    document["plan"]["replicates"] = 3
    (folder / "plan.json").write_text(json.dumps(document))

    with StudyLock(folder):
        found = status(folder)

    assert found.phase == "replicates"
    assert found.summary.counts["complete"] == 1
    assert found.summary.counts["running"] == found.summary.counts["waiting"] == 0
    assert found.summary.replicates["complete"] == found.summary.replicates["running"] == 1
    assert "1 of 1 trials: 1 complete; replicates 1 of " in shown(found, 200)
    assert found.to_json()["replicates"]["asked"] == 3
    assert status(folder).state == "interrupted"


def test_the_best_score_in_a_list_is_the_mean_of_its_runs(tmp_path: Path) -> None:
    second = SAMPLE.trial(SAMPLE.params(), accuracy=66.0, ratio=3.0)
    folder = write(tmp_path / "some", [finished(), further(second, 0, 1)], planned=1)
    first, again = (trial.val_score for trial in summarise(folder).results.trials)
    (listed,) = study_states(tmp_path)
    assert first != again
    assert listed["best_val_score"] == pytest.approx((first + again) / 2)


def test_the_front_of_a_study_in_mlflow_tells_means_with_their_errors(tmp_path: Path) -> None:
    ran = [(70.0, 69.0), (66.0, 66.5)]
    first, second = (
        SAMPLE.trial(SAMPLE.params(), accuracy=val, ratio=3.0, confirmed=(test, 3.0))
        for val, test in ran
    )
    folder = write(tmp_path / "some", [first, further(second, 0, 1)], planned=1)
    note = closing_note(folder, summarise(folder).results.plan) or ""
    (row,) = [line for line in note.splitlines() if line.startswith("| t0000 ")]
    assert [cell.strip() for cell in row.split("|")[3:5]] == ["68.00 ± 2.00", "67.75 ± 1.25"]
