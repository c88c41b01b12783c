"""Files go to MLflow one by one: one that it refuses holds nothing else up, and none goes twice."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from requests import HTTPError, Response

from study.tracking.delivery import DeliveryReport
from study.tracking.mlflow import MlflowTracker

Refuse = Callable[[str, list[int]], Counter[str]]


@pytest.fixture
def report(tmp_path: Path) -> list[Path]:
    """A report of a page, a table and a folder of two charts."""
    (tmp_path / "figures").mkdir()
    for name in ("index.html", "results.csv", "figures/curves.html", "figures/front.html"):
        (tmp_path / name).write_text(name)
    return [tmp_path / name for name in ("index.html", "results.csv", "figures")]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Refuse]:
    """Has MLflow answer to a file of some name by these statuses before it takes it."""
    send, sent = MlflowClient.log_artifact, Counter[str]()

    def have(name: str, statuses: list[int]) -> Counter[str]:
        waiting = list(statuses)

        def answer(self: MlflowClient, run_id: str, path: str, folder: str) -> None:
            sent[Path(path).name] += 1
            if Path(path).name == name and waiting:
                response = Response()
                response.status_code = status = waiting.pop(0)
                raise HTTPError(f"{status} Error: no\n<html>and much more", response=response)
            send(self, run_id, path, folder)

        monkeypatch.setattr(MlflowClient, "log_artifact", answer)
        return sent

    return have


def told(uri: str, space: str, report: list[Path], warnings: list[str]) -> DeliveryReport:
    """What came of a study's end, and of a trial that was told of after it."""
    tracker = MlflowTracker(uri, report[0].parent, warnings.append, lambda *_: None, 0.01)
    tracker.study_started("s", space, "", {}, {}, study_key=space)
    tracker.study_finished("complete", {"hypervolume": 0.7}, report)
    tracker.trial_started(0, "t0000", {}, {})
    tracker.trial_finished(0, "complete", None, {"val_score": 60.0})
    return tracker.close(30)


def runs(client: MlflowClient, space: str) -> dict[str, Run]:
    experiment = client.get_experiment_by_name(space)
    assert experiment is not None
    return {run.data.tags["kind"]: run for run in client.search_runs([experiment.experiment_id])}


def files(client: MlflowClient, run: Run) -> set[str]:
    listed = [f for path in ("report", "report/figures")
              for f in client.list_artifacts(run.info.run_id, path)]  # fmt: skip
    return {file.path.removeprefix("report/") for file in listed if not file.is_dir}


@pytest.mark.parametrize("status", [401, 403, 413])
@pytest.mark.parametrize("name", ["index.html", "curves.html"], ids=["alone", "in a folder"])
def test_a_refused_file_costs_that_file_alone_and_one_warning(
    uri: str, client: MlflowClient, report: list[Path], answers: Refuse, name: str, status: int
) -> None:
    answers(name, [status] * 100)
    warnings: list[str] = []

    delivery = told(uri, f"{name} {status}", report, warnings)

    assert delivery.undelivered == delivery.refused > 0
    assert delivery.trouble == f"refused an update: {name}: {status} Error: no"
    assert len(warnings) == 1
    found = runs(client, f"{name} {status}")
    study, trial = found["study"], found["trial"]
    assert (study.info.status, study.data.tags["outcome"]) == ("FINISHED", "complete")
    assert study.data.metrics == {"final/hypervolume": 0.7}
    assert trial.data.metrics == {"final/val_score": 60.0}
    everything = {"index.html", "results.csv", "figures/curves.html", "figures/front.html"}
    assert everything - files(client, study) == {n for n in everything if Path(n).name == name}


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_file_that_may_be_taken_later_is_sent_again_and_it_alone(
    uri: str, client: MlflowClient, report: list[Path], answers: Refuse, status: int
) -> None:
    sent = answers("curves.html", [status])
    warnings: list[str] = []

    delivery = told(uri, f"later {status}", report, warnings)

    assert delivery.undelivered == 0
    assert sent == {"index.html": 1, "results.csv": 1, "curves.html": 2, "front.html": 1}
    found = files(client, runs(client, f"later {status}")["study"])
    assert found == {"index.html", "results.csv", "figures/curves.html", "figures/front.html"}


def test_a_refusal_is_told_of_though_a_later_file_had_to_be_tried_again(
    uri: str, client: MlflowClient, report: list[Path], answers: Refuse
) -> None:
    answers("index.html", [413])  # once: it is not asked for a second time
    plain = MlflowClient.log_artifact
    failed: list[str] = []

    def fail_once(self: MlflowClient, run_id: str, path: str, folder: str) -> None:
        if path.endswith("results.csv") and not failed:
            failed.append(path)
            raise ConnectionError("connection reset")
        plain(self, run_id, path, folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", fail_once)
        delivery = told(uri, "both", report, [])

    assert failed
    assert delivery.undelivered == delivery.refused > 0
    found = files(client, runs(client, "both")["study"])
    assert found == {"results.csv", "figures/curves.html", "figures/front.html"}
