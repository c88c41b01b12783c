"""A study whose trials ask several teachers, from the command line."""

import json
from pathlib import Path

import pytest
from launching import BRIEF, Launcher

from analysis.record import read_record

pytestmark = pytest.mark.end_to_end


def test_each_number_of_subclasses_has_a_teacher_and_more_trials_repeat_nothing(
    tmp_path: Path, launcher: Launcher
) -> None:
    studies = tmp_path / "studies"
    asked = (
        *BRIEF,
        *("--space", "mnist_subclass", "--preset", "paper", "--data", "digits2x5"),
        *("--teacher-epochs", "1", "--max-epochs", "1", "--scheduler", "none"),
        *("--tracking-uri", "none", "--name", "halves", "--json"),
    )
    first = launcher.run(*asked, "--trials", "3", studies=studies)
    assert first.returncode == 0, first.stderr

    kept = {
        json.loads(path.read_text())["recipe"]["subclasses"]: path
        for path in (studies / "teachers").glob("*/teacher.json")
    }
    trained = {path: path.stat().st_mtime_ns for path in kept.values()}
    record = read_record(studies / "halves")
    assert sorted(kept) == [2, 4, 5, 8]
    assert record.teacher is not None
    assert record.teacher.key == kept[2].parent.name
    assert [trial.params.get("subclasses") for trial in record.trials] == [None, None, 5]
    assert all(trial.confirmed for trial in record.trials)

    again = launcher.run(*asked, "--trials", "4", studies=studies)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in kept.values()} == trained
    assert "kept from an earlier study" in again.stderr
    trials = read_record(studies / "halves").trials
    assert len(trials) == 4
    for then, now in zip(record.trials, trials, strict=False):
        assert (then.curve, then.outcome, then.params) == (now.curve, now.outcome, now.params)
