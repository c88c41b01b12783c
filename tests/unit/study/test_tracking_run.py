"""What a run in MLflow has is not sent to it again, and what it should not have goes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Run

from study.tracking.delivery import PendingRun
from study.tracking.mlflow import MlflowTracker
from study.tracking.run import FRONT_NOTE, KnownRun


def epoch_result(epoch: int, seconds: float = 1.5) -> dict[str, Any]:
    losses = {"train_loss": 2.0 / epoch, "val_loss": 2.1 / epoch, "learning_rate": 0.1}
    return {"epoch": epoch, "val_score": 50.0 + epoch, "seconds": seconds, **losses}


@pytest.fixture
def start(
    uri: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[], MlflowTracker]]:
    """Starts a session of one and the same study."""
    trackers: list[MlflowTracker] = []

    def started() -> MlflowTracker:
        tracker = MlflowTracker(uri, tmp_path, print, lambda *run: None, gather_seconds=0.01)
        tracker.study_started("s", request.node.name, "", {}, {}, study_key=request.node.name)
        trackers.append(tracker)
        return tracker

    yield started
    for tracker in trackers:
        tracker.close(10)


@pytest.fixture
def trial(client: MlflowClient, request: pytest.FixtureRequest) -> Callable[[], Run]:
    """The one run of a trial that there is."""

    def found() -> Run:
        experiment = client.get_experiment_by_name(request.node.name)
        assert experiment is not None
        (run,) = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
        return run

    return found


def history(client: MlflowClient, run: Run, metric: str) -> list[tuple[int, float]]:
    return sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, metric))


def interrupt(tracker: MlflowTracker) -> None:
    """Begin a trial, and leave it as a session that is stopped leaves it."""
    tracker.trial_started(0, "t0000", {}, {})
    tracker.trial_finished(0, "interrupted", "the study was stopped", {})
    settle(tracker)


def no_history(metric: str) -> list[Metric]:
    return []


def settle(tracker: MlflowTracker) -> None:
    assert tracker.wait(30).undelivered == 0


def test_a_trial_that_is_retried_tells_its_epochs_anew_and_doubles_none(
    start: Callable[[], MlflowTracker], trial: Callable[[], Run], client: MlflowClient
) -> None:
    tracker = start()
    for reach, seconds in ((2, 1.5), (4, 9.9)):  # its worker died after the second epoch
        tracker.trial_started(0, "t0000", {"temperature": 4.0}, {})
        for epoch in range(1, reach + 1):
            tracker.epoch(0, epoch_result(epoch, 1.5 if epoch <= 2 else seconds))
        settle(tracker)
    tracker.epoch(0, epoch_result(4, 7.7))
    tracker.epoch(0, epoch_result(5, 7.7))
    tracker.epoch(0, epoch_result(5, 8.8))
    settle(tracker)

    seconds = [(1, 1.5), (2, 1.5), (3, 9.9), (4, 9.9), (5, 7.7)]
    assert history(client, trial(), "epoch_seconds") == seconds
    assert history(client, trial(), "val_score") == [(e, 50.0 + e) for e in range(1, 6)]
    assert not any(name.startswith("resumed/") for name in trial().data.tags)


def test_figures_that_are_told_again_are_there_once_and_new_ones_are_the_latest(
    start: Callable[[], MlflowTracker], trial: Callable[[], Run], client: MlflowClient
) -> None:
    tracker = start()
    tracker.trial_started(0, "t0000", {}, {})
    tracker.trial_finished(0, "complete", None, {"val_score": 60.0, "latency_ms": 5.0})
    settle(tracker)
    for _ in range(3):  # the confirmation, then the end of the study, then a later session's end
        tracker.trial_confirmed(0, {"val_score": 60.0, "latency_ms": 4.0, "test_score": 58.0})
        settle(tracker)
    later = start()
    later.trial_confirmed(0, {"val_score": 60.0, "latency_ms": 4.0, "test_score": 58.0})
    settle(later)

    run = trial()
    assert history(client, run, "final/val_score") == [(0, 60.0)]
    assert history(client, run, "final/test_score") == [(0, 58.0)]
    assert history(client, run, "final/latency_ms") == [(0, 4.0), (0, 5.0)]
    assert run.data.metrics["final/latency_ms"] == 4.0


def test_a_trial_that_goes_on_loses_the_reason_it_was_stopped_for(
    start: Callable[[], MlflowTracker], trial: Callable[[], Run]
) -> None:
    interrupt(start())
    assert trial().data.tags["mlflow.note.content"] == "interrupted: the study was stopped"

    second = start()
    second.trial_started(0, "t0000", {}, {})
    second.trial_finished(0, "complete", None, {})
    settle(second)

    tags = trial().data.tags
    assert tags["outcome"] == "complete"
    assert not {"reason", "mlflow.note.content"} & set(tags)


def test_a_description_of_the_users_own_stays(
    start: Callable[[], MlflowTracker], trial: Callable[[], Run], client: MlflowClient
) -> None:
    interrupt(start())
    client.set_tag(trial().info.run_id, "mlflow.note.content", "look at this one")

    second = start()
    second.trial_started(0, "t0000", {}, {})
    second.trial_finished(0, "complete", None, {})
    settle(second)

    assert trial().data.tags["mlflow.note.content"] == "look at this one"


def test_a_member_of_the_front_says_what_it_reached_while_it_is_one(
    start: Callable[[], MlflowTracker], trial: Callable[[], Run]
) -> None:
    interrupt(start())
    second = start()
    second.trial_started(0, "t0000", {}, {})
    second.trial_finished(0, "complete", None, {})
    for reached in ("70 %", "71 %"):
        second.trial_on_front(0, True, description=f"{FRONT_NOTE}s: {reached}")
        settle(second)
        assert trial().data.tags["mlflow.note.content"] == f"{FRONT_NOTE}s: {reached}"

    second.trial_on_front(0, False)
    settle(second)

    assert not {"front", "mlflow.note.content"} & set(trial().data.tags)


def test_on_the_front_and_off_it_in_one_delivery_leaves_no_description() -> None:
    run, note = KnownRun("id"), f"{FRONT_NOTE}s: 70 %"
    on = run.lacks(PendingRun(0, tags={"front": "yes", "mlflow.note.content": note}), no_history)
    assert on.tags["mlflow.note.content"] == note
    run.took(tags=on.tags)

    off = run.lacks(PendingRun(0, tags={"front": None, "mlflow.note.content": note}), no_history)

    assert off.tags == {}
    assert off.stale_tags == ["front", "mlflow.note.content"]


@pytest.mark.parametrize("words", ["look at this one", f"{FRONT_NOTE}s: 70 %\n\nOn the robot."])
def test_what_somebody_writes_while_the_driver_runs_stays(
    start: Callable[[], MlflowTracker], trial: Callable[[], Run], client: MlflowClient, words: str
) -> None:
    tracker = start()
    tracker.trial_started(0, "t0000", {}, {})
    tracker.trial_finished(0, "complete", None, {})
    tracker.trial_on_front(0, True, description=f"{FRONT_NOTE}s: 70 %")
    settle(tracker)
    client.set_tag(trial().info.run_id, "mlflow.note.content", words)

    for on_front in (True, False):
        note = f"{FRONT_NOTE}s: 71 %" if on_front else None
        tracker.trial_on_front(0, on_front, description=note)
        settle(tracker)
        assert trial().data.tags["mlflow.note.content"] == words


def test_a_member_of_the_front_that_somebody_described_keeps_that_description(
    start: Callable[[], MlflowTracker], trial: Callable[[], Run], client: MlflowClient
) -> None:
    first = start()
    first.trial_started(0, "t0000", {}, {})
    first.trial_finished(0, "complete", None, {})
    settle(first)
    client.set_tag(trial().info.run_id, "mlflow.note.content", "look at this one")

    second = start()
    for on_front in (True, False):
        second.trial_on_front(0, on_front, description=f"{FRONT_NOTE}s" if on_front else None)
        settle(second)
        assert trial().data.tags["mlflow.note.content"] == "look at this one"
        assert ("front" in trial().data.tags) == on_front


def test_a_lost_answer_to_a_correction_does_not_double_it(
    start: Callable[[], MlflowTracker],
    trial: Callable[[], Run],
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = start()
    first.trial_started(0, "t0000", {}, {})
    first.trial_finished(0, "complete", None, {"latency_ms": 5.0})
    settle(first)
    log_batch, calls = MlflowClient.log_batch, []

    def log_and_lose_the_answer(self: MlflowClient, *args: Any, **kwargs: Any) -> None:
        log_batch(self, *args, **kwargs)
        calls.append(args)
        if len(calls) % 2:
            raise TimeoutError("timed out")

    monkeypatch.setattr(MlflowClient, "log_batch", log_and_lose_the_answer)
    second = start()
    second.trial_confirmed(0, {"latency_ms": 4.0})
    settle(second)

    assert history(client, trial(), "final/latency_ms") == [(0, 4.0), (0, 5.0)]


def test_a_lost_answer_to_a_removal_stops_nothing(
    start: Callable[[], MlflowTracker], trial: Callable[[], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(start())
    delete_tag, calls = MlflowClient.delete_tag, []

    def delete_and_lose_the_answer(self: MlflowClient, *args: Any) -> None:
        delete_tag(self, *args)
        calls.append(args)
        if len(calls) == 1:
            raise TimeoutError("timed out")

    monkeypatch.setattr(MlflowClient, "delete_tag", delete_and_lose_the_answer)
    second = start()
    second.trial_started(0, "t0000", {}, {})
    second.trial_finished(0, "complete", None, {"val_score": 60.0})
    settle(second)

    assert "reason" not in trial().data.tags
    assert trial().data.metrics["final/val_score"] == 60.0
