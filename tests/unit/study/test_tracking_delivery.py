"""The driver never waits for a store, and what a store misses while it is away arrives later."""

import statistics
import threading
import time
from typing import Any

import pytest

from study.tracking.delivery import Delivery, PendingRun, Refused, Replay, RunKey, RunUpdate


def test_a_store_that_hangs_does_not_slow_the_driver() -> None:
    hang = threading.Event()

    class Hanging:
        def deliver(self, key: RunKey, pending: PendingRun) -> str:
            hang.wait(30)
            return "id"

    delivery = Delivery(Hanging, "the store", print, lambda *_: None, gather_seconds=0.0)
    costs = []
    for number in range(500):
        start = time.perf_counter()
        delivery.put(RunUpdate(RunKey("trial", f"t{number:04d}"), at=number))
        delivery.hand_back()
        costs.append(time.perf_counter() - start)
    report = delivery.close(timeout=0.2)
    hang.set()
    assert statistics.median(costs) < 0.001
    assert report.undelivered == 500


def test_updates_wait_in_order_until_the_store_is_back() -> None:
    away, tried, delivered = threading.Event(), threading.Event(), []
    away.set()

    class ComesAndGoes:
        def deliver(self, key: RunKey, pending: PendingRun) -> str:
            if away.is_set():
                tried.set()
                raise ConnectionError("refused")
            delivered.append((key.name, [point for point in pending.tags]))
            return key.name

    warnings: list[str] = []
    delivery = Delivery(
        ComesAndGoes, "the store", warnings.append, lambda *_: None, gather_seconds=0.0
    )
    for step in range(3):
        for name in ("t0001", "t0000"):
            delivery.put(RunUpdate(RunKey("trial", name), at=step, tags={f"tag {step}": "x"}))
        assert tried.wait(60)
    away.clear()
    report = delivery.close(timeout=60)
    tags = ["tag 0", "tag 1", "tag 2"]
    assert delivered == [("t0001", tags), ("t0000", tags)]
    assert (report.delivered, report.undelivered) == (6, 0)
    assert len(warnings) == 1


def test_a_refused_update_is_given_up_and_the_next_ones_arrive() -> None:
    class Refuses:
        def deliver(self, key: RunKey, pending: PendingRun) -> str:
            if key.name == "t0000":
                raise Refused("parameter 'x' is too long\nand much more")
            return key.name

    warnings: list[str] = []
    runs: list[str] = []
    delivery = Delivery(
        Refuses, "the store", warnings.append, lambda *run: runs.append(run[2]), gather_seconds=0.0
    )
    for name in ("t0000", "t0001", "t0002"):
        delivery.put(RunUpdate(RunKey("trial", name), at=0))
    report = delivery.close(timeout=60)
    assert (report.delivered, report.undelivered) == (2, 1)
    assert runs == ["t0001", "t0002"]
    assert warnings == ["the store refused an update: parameter 'x' is too long; the study goes on"]


def test_a_store_that_cannot_be_opened_is_tried_again() -> None:
    tries = []

    class Store:
        def deliver(self, key: RunKey, pending: PendingRun) -> str:
            return "id"

    def connect() -> Store:
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise OSError(111, "Connection refused")
        return Store()

    warnings: list[str] = []
    delivery = Delivery(connect, "the store", warnings.append, lambda *_: None, gather_seconds=0.0)
    delivery.put(RunUpdate(RunKey("study"), at=0))
    assert delivery.close(timeout=60).delivered == 1
    assert len(tries) == 3
    assert warnings == [
        "the store does not answer: Connection refused; its updates wait; the study goes on"
    ]


class Held:
    """A store that holds on to its first update until it is told to go on."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.delivered: list[str] = []

    def deliver(self, key: RunKey, pending: PendingRun) -> str:
        self.delivered.append(key.name)
        if len(self.delivered) == 1:
            self.begun.set()
            self.go_on.wait(60)
        return key.name


def test_replays_give_way_to_news() -> None:
    store = Held()
    delivery = Delivery(lambda: store, "the store", print, lambda *_: None, gather_seconds=0.0)
    delivery.put(RunUpdate(RunKey("study", "study"), at=0))
    assert store.begun.wait(60)
    for number in range(3):
        replay = Replay({}, lambda: [])
        delivery.put(RunUpdate(RunKey("trial", f"t{number:04d}"), at=0, replay=replay))
    delivery.put(RunUpdate(RunKey("trial", "t0009"), at=0))
    store.go_on.set()
    assert delivery.close(timeout=60).delivered == 5
    assert store.delivered == ["study", "t0009", "t0000", "t0001", "t0002"]


def test_news_is_heard_of_between_two_replays() -> None:
    delivered: list[str] = []

    class Store:
        def deliver(self, key: RunKey, pending: PendingRun) -> str:
            if key.name == "t0000":
                delivery.put(RunUpdate(RunKey("trial", "t0009"), at=0))
            delivered.append(key.name)
            return key.name

    delivery = Delivery(Store, "the store", print, lambda *_: None, gather_seconds=0.1)
    for number in range(3):
        replay = Replay({}, lambda: [])
        delivery.put(RunUpdate(RunKey("trial", f"t{number:04d}"), at=0, replay=replay))
    assert delivery.wait(60, lambda: None).delivered == 4
    assert delivered == ["t0000", "t0009", "t0001", "t0002"]


def test_waiting_ends_when_all_is_delivered_or_refused_and_hands_back_meanwhile() -> None:
    class RefusesOne:
        def deliver(self, key: RunKey, pending: PendingRun) -> str:
            if key.name == "t0001":
                raise Refused("no")
            return key.name

    runs: list[str] = []
    looks: list[int] = []
    delivery = Delivery(
        RefusesOne, "the store", print, lambda *run: runs.append(run[2]), gather_seconds=0.0
    )
    for name in ("t0000", "t0001", "t0002"):
        delivery.put(RunUpdate(RunKey("trial", name), at=0))
    report = delivery.wait(60, lambda: looks.append(len(runs)))
    assert (report.delivered, report.undelivered, report.refused) == (2, 1, 1)
    assert report.trouble == "refused an update: no"
    assert runs == ["t0000", "t0002"]
    assert looks[-1] == 2
    delivery.put(RunUpdate(RunKey("trial", "t0003"), at=0))  # it goes on after a wait
    assert delivery.wait(60, lambda: None).delivered == 3


def test_waiting_gives_up_once_nothing_arrives_any_more() -> None:
    class Away:
        def deliver(self, key: RunKey, pending: PendingRun) -> str:
            raise ConnectionError("refused")

    delivery = Delivery(Away, "the store", print, lambda *_: None, gather_seconds=0.0)
    delivery.put(RunUpdate(RunKey("study"), at=0))
    start = time.monotonic()
    report = delivery.wait(0.3, lambda: None)
    assert 0.3 <= time.monotonic() - start < 3
    assert (report.undelivered, report.refused) == (1, 0)
    assert report.trouble == "does not answer: refused"
    delivery.close(0.0)


def test_waiting_for_a_store_that_refuses_the_study_gives_up_at_once() -> None:
    def connect() -> Any:
        raise Refused("its experiment was deleted")

    delivery = Delivery(connect, "the store", print, lambda *_: None, gather_seconds=0.0)
    delivery.put(RunUpdate(RunKey("study"), at=0))
    start = time.monotonic()
    report = delivery.wait(60, lambda: None)
    assert time.monotonic() - start < 5
    assert report.trouble == "refused the study: its experiment was deleted"
    delivery.close(0.0)


def test_what_gives_way_comes_after_news_that_was_put_later() -> None:
    store = Held()
    delivery = Delivery(lambda: store, "the store", print, lambda *_: None, gather_seconds=0.0)
    delivery.put(RunUpdate(RunKey("trial", "t0000"), at=0))
    assert store.begun.wait(60)
    for number in (1, 2, 3):
        run = RunKey("trial", f"t{number:04d}")
        delivery.put(RunUpdate(run, at=0, tags={"front": None}, gives_way=True))
    delivery.put(RunUpdate(RunKey("trial", "t0002"), at=0))
    delivery.put(RunUpdate(RunKey("study", "study"), at=0))
    store.go_on.set()
    assert delivery.close(timeout=60).delivered == 6
    assert store.delivered == ["t0000", "t0002", "study", "t0001", "t0003"]


def test_waiting_goes_on_while_the_store_answers_a_part_at_a_time() -> None:
    class Large:
        def deliver(self, key: RunKey, pending: PendingRun) -> str:
            for _ in range(12):
                time.sleep(0.2)
                delivery.heard()
            return "id"

    delivery = Delivery(Large, "the store", print, lambda *_: None, gather_seconds=0.0)
    delivery.put(RunUpdate(RunKey("study"), at=0))
    assert delivery.wait(2.0, lambda: None).delivered == 1


def test_waiting_for_a_store_that_answers_and_then_fails_gives_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("study.tracking.delivery.LONGEST_WAIT_SECONDS", 0.1)
    tries = []

    class Fails:
        def deliver(self, key: RunKey, pending: PendingRun) -> str:
            delivery.heard()
            tries.append(key)
            if len(tries) < 50:
                raise ConnectionError("refused")
            return "id"

    delivery = Delivery(Fails, "the store", print, lambda *_: None, gather_seconds=0.0)
    delivery.put(RunUpdate(RunKey("study"), at=0))
    assert delivery.wait(1.0, lambda: None).undelivered == 1
    delivery.close(0.0)
