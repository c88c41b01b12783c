"""A study whose students can be left early: its driver is killed between the exits of one."""

import csv
import signal
from collections import Counter
from pathlib import Path

import pytest
from launching import BRIEF, Launcher

from analysis.record import read_record
from analysis.results import trained_alone

pytestmark = pytest.mark.end_to_end

DYING = """
import os, signal, sys
from study.launch import main
from study.record import StudyRecord

add_exit, added = StudyRecord.add_exit, []

def dying(*args, **kwargs):
    added.append(add_exit(*args, **kwargs))
    if len(added) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return added[-1]

StudyRecord.add_exit = dying
sys.exit(main(sys.argv[1:]))
"""


def test_a_driver_killed_between_two_exits_goes_on_and_everybody_counts_alike(
    launcher: Launcher, studies: Path
) -> None:
    from mlflow import MlflowClient

    script = studies.parent / "dying.py"
    script.write_text(DYING)
    narrow = ("--fix", "width=16", "--fix", "stem_stride=4")
    plan = (*BRIEF, "--space", "cifar_self", "--data", "digits", *narrow, "--views", "2")
    plan = (*plan, "--name", "exits")
    short = ("--teacher-epochs", "3", "--max-epochs", "2", "--trials", "2", "--concurrent", "1")
    killed = launcher.run(*plan, *short, studies=studies, script=str(script))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = read_record(studies / "exits").trials
    assert [trial.status for trial in before] == ["running", "complete", "complete"]

    resumed = launcher.run("resume", "exits", "--json", studies=studies, module="study")

    assert resumed.returncode == 0, resumed.stderr
    results = read_record(studies / "exits")
    own = trained_alone(results.trials)
    assert [trial.source for trial in own] == ["preset", "control"]
    assert resumed.result["counts"]["complete"] == 2
    assert resumed.result["exits"] == 8
    for trial in own:
        exits = [each for each in results.trials if each.trained_with == trial.number]
        assert sorted(str(each.params["exit"]) for each in exits) == ["1", "2", "3", "ensemble"]
        for each in exits:
            assert each.status == "complete"
            assert [epoch.epoch for epoch in each.curve] == [1, 2]
            assert [e.train_loss for e in each.curve] == [e.train_loss for e in trial.curve]
    front = {trial.number for trial in results.front}
    assert all(results.trials[number].confirmed is not None for number in front)
    for number in front:
        assert (studies / "exits" / "checkpoints" / f"t{number:04d}" / "student.pt").is_file()

    with (studies / "exits" / "report" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["source"] for row in rows) == {"preset": 1, "control": 1, "exit": 8}
    assert results.mlflow is not None
    client = MlflowClient(results.mlflow["tracking_uri"])
    runs = client.search_runs(
        [str(results.mlflow["experiment_id"])],
        f"tags.`mlflow.parentRunId` = '{results.mlflow['run_id']}'",
    )
    assert sorted(int(run.data.tags["trial"]) for run in runs) == list(range(10))
    for run in runs:
        trial = results.trials[int(run.data.tags["trial"])]
        assert run.data.tags["outcome"] == trial.status
        assert run.data.tags["source"] == trial.source
        history = client.get_metric_history(run.info.run_id, "val_score")
        assert sorted((point.step, point.value) for point in history) == [
            (epoch.epoch, epoch.val_score) for epoch in trial.curve
        ]
    study = client.get_run(results.mlflow["run_id"])
    assert study.data.metrics["final/trials"] == 2
