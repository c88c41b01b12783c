"""Studies with replicates from the command line: real Ray, MLflow, torch and digits."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from launching import SMALL, Launched, Launcher

from analysis.record import StudyResults, read_record
from analysis.results import TrialResult

pytestmark = pytest.mark.end_to_end
REPLICATED = (*SMALL, "--name", "small", "--trials", "4", "--replicates", "2")


def read(run: Launched) -> StudyResults:
    return read_record(run.studies / "small")


def essence(trial: TrialResult) -> tuple[Any, ...]:
    curve = [(e.epoch, e.train_loss, e.val_loss, e.val_score) for e in trial.curve]
    return trial.number, trial.params, trial.status, curve


@pytest.fixture(scope="module")
def replicated(
    finished: Launched, launcher: Launcher, tmp_path_factory: pytest.TempPathFactory
) -> Launched:
    """A study of four trials with two runs of its front."""
    studies = tmp_path_factory.mktemp("replicated") / "studies"
    shutil.copytree(finished.studies / "teachers", studies / "teachers")
    run = launcher.run(*REPLICATED, "--json", studies=studies)
    assert run.returncode == 0, run.stderr
    return run


def test_every_member_of_the_front_and_its_control_has_all_runs(replicated: Launched) -> None:
    result = replicated.result

    assert sum(result["counts"].values()) == 4
    assert result["replicates"]["asked"] == 2
    assert result["replicates"]["complete"] >= len(result["front"])
    assert result["replicates"]["waiting"] == result["replicates"]["running"] == 0
    controls = set()
    for member in result["front"]:
        assert member["val"]["runs"] == member["test"]["runs"] == 2
        assert member["val"]["error"] >= 0
        low, high = member["val"]["interval"]
        assert low <= member["val"]["mean"] <= high
        assert 0 <= member["front_probability"] <= 1
        if member["params"]["terms"] != "ce":
            assert member["gain"]["val"]["runs"] == member["gain"]["test"]["runs"] == 2
            controls.add(member["gain"]["control"])
    record = read(replicated)
    runs = [trial for trial in record.trials if trial.replicate_of in controls]
    assert len(runs) == len(controls)


def test_a_replicate_differs_from_the_first_run_in_its_seed_alone(replicated: Launched) -> None:
    record = read(replicated)
    replicates = [trial for trial in record.trials if trial.replicate_of is not None]

    assert replicates
    for trial in replicates:
        assert trial.replicate_of is not None
        first = record.trials[trial.replicate_of]
        assert (trial.source, trial.run, trial.status) == ("replicate", 1, "complete")
        assert trial.params == first.params
        assert trial.latency_ms == first.latency_ms
        assert trial.epochs_done == first.epochs_done == 3
        assert trial.curve[0].train_loss != first.curve[0].train_loss
        assert trial.test_score is not None
    runs = [(trial.replicate_of, trial.run) for trial in replicates]
    assert len(runs) == len(set(runs))


def test_mlflow_and_the_report_tell_of_replicates(replicated: Launched) -> None:
    from mlflow import MlflowClient

    record = read(replicated)
    client = MlflowClient(f"sqlite:///{replicated.studies / 'mlflow.db'}")
    for trial in record.trials:
        assert trial.mlflow_run_id is not None
        run = client.get_run(trial.mlflow_run_id)
        assert run.data.tags["outcome"] == trial.status
        if trial.replicate_of is not None:
            assert run.data.tags["replicate_of"] == f"t{trial.replicate_of:04d}"
            assert run.data.tags["run"] == "1"
            assert run.info.run_name.endswith(", run 1")
    assert record.mlflow is not None
    assert client.get_run(record.mlflow["run_id"]).data.metrics["final/trials"] == 4
    html = (replicated.studies / "small" / "report" / "index.html").read_text()
    member = replicated.result["front"][-1]
    assert f"{member['val']['mean']:.2f}" in html
    assert "±" in html


def test_nothing_is_trained_again_by_the_same_command(
    replicated: Launched, launcher: Launcher, tmp_path: Path
) -> None:
    studies = tmp_path / "studies"
    shutil.copytree(replicated.studies, studies)
    before = [essence(trial) for trial in read(replicated).trials]

    again = launcher.run(*REPLICATED, "--json", studies=studies)

    assert again.returncode == 0, again.stderr
    assert [essence(trial) for trial in read(again).trials] == before
    assert "test split" not in again.stderr
    assert again.result["front"] == replicated.result["front"]


@pytest.fixture(scope="module")
def gentle(
    finished: Launched, launcher: Launcher, tmp_path_factory: pytest.TempPathFactory
) -> Launched:
    """A study without replicates, of shallow students and few, small steps.

    Rounding moves the first epoch's loss of such students by 1e-7, another seed by 2e-3 and more.
    Of deep ones at a learning rate of 0.2 rounding alone moves it by up to 16 %.
    """
    studies = tmp_path_factory.mktemp("gentle") / "studies"
    shutil.copytree(finished.studies / "teachers", studies / "teachers")
    fixed = (
        *("blocks_2=0", "blocks_3=0", "blocks_4=0"),
        *("learning_rate=0.005", "batch_size=128", "schedule=onecycle"),
    )
    run = launcher.run(
        *(*SMALL, "--name", "small", "--trials", "4", "--precision", "float32", "--json"),
        *(word for value in fixed for word in ("--fix", value)),
        studies=studies,
    )
    assert run.returncode == 0, run.stderr
    return run


@pytest.fixture(scope="module")
def spent(
    gentle: Launched, launcher: Launcher, tmp_path_factory: pytest.TempPathFactory
) -> Launched:
    """A finished study that is asked for replicates and has no time for them."""
    studies = tmp_path_factory.mktemp("spent") / "studies"
    shutil.copytree(gentle.studies, studies)
    asked = ("resume", "small", "--replicates", "2", "--budget", "1s", "--json")
    return launcher.run(*asked, studies=studies, module="study")


@pytest.fixture(scope="module")
def more(spent: Launched, launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Launched:
    """The same once it has the time."""
    studies = tmp_path_factory.mktemp("more") / "studies"
    shutil.copytree(spent.studies, studies)
    asked = ("resume", "small", "--replicates", "2", "--budget", "1h", "--json")
    return launcher.run(*asked, studies=studies, module="study")


def test_a_finished_study_without_time_says_that_it_lacks_replicates(spent: Launched) -> None:
    assert spent.returncode == 0, spent.stderr
    assert "so no replicates were trained" in spent.result["note"]
    assert "study resume small --replicates 2 --budget" in spent.result["note"]
    assert spent.result["replicates"]["waiting"] > 0
    assert len(read(spent).trials) == 4


def test_replicates_are_added_to_a_finished_study(
    gentle: Launched, more: Launched, launcher: Launcher
) -> None:
    assert more.returncode == 0, more.stderr
    before, after = read(gentle), read(more)
    assert [essence(t) for t in after.trials[:4]] == [essence(t) for t in before.trials]
    assert [t.test_score for t in after.trials[:4] if t.number in _tested(before)] == [
        t.test_score for t in before.trials if t.test_score is not None
    ]
    assert all(not trial.searched for trial in after.trials[4:])
    assert sum(more.result["counts"].values()) == 4
    assert all(member["val"]["runs"] == 2 for member in more.result["front"])
    status = launcher.run("status", "small", "--json", studies=more.studies, module="study")
    assert json.loads(status.stdout)["state"].startswith("finished")


def test_runs_trained_as_one_learn_what_they_learn_one_by_one(
    spent: Launched, more: Launched, launcher: Launcher, tmp_path: Path
) -> None:
    studies = tmp_path / "studies"
    shutil.copytree(spent.studies, studies)
    # Of three runs two are left of every member, of a control that is new all three.
    run = launcher.run(
        *("resume", "small", "--replicates", "3", "--budget", "1h"),
        *("--fuse", "always", "--concurrent", "1"),
        studies=studies,
        module="study",
    )

    assert run.returncode == 0, run.stderr
    assert "runs are trained as one" in run.stdout + run.stderr
    assert "trained as one" not in more.stderr
    found = read(run)
    fused = [trial for trial in found.trials if trial.usage.runs > 1]
    assert fused
    assert all(trial.usage.runs == 3 - trial.run for trial in fused)
    assert all(trial.usage.runs == 1 for trial in read(more).trials)
    runs, alone = _further_runs(found), _further_runs(read(more))
    assert any(trial.run == 1 for trial in fused)
    common = runs.keys() & alone.keys()
    assert common
    for key in common:
        theirs, ours = alone[key], runs[key]
        assert ours.status == theirs.status == "complete"
        assert ours.epochs_done == theirs.epochs_done
        assert ours.curve[0].train_loss == pytest.approx(theirs.curve[0].train_loss, rel=1e-4)


def _further_runs(record: StudyResults) -> dict[tuple[Any, ...], TrialResult]:
    further = (trial for trial in record.trials if not trial.searched)
    return {(*sorted(trial.params.items()), trial.run): trial for trial in further}


def _tested(record: StudyResults) -> set[int]:
    return {trial.number for trial in record.trials if trial.test_score is not None}
