"""The driver never waits for a store, and what a store misses while it is away arrives later."""

import statistics
import threading
import time

from study.tracking_delivery import Delivery, PendingRun, Refused, RunKey, RunUpdate


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
    away, delivered = threading.Event(), []
    away.set()

    class ComesAndGoes:
        def deliver(self, key: RunKey, pending: PendingRun) -> str:
            if away.is_set():
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
        time.sleep(0.1)
    away.clear()
    report = delivery.close(timeout=10)
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
    report = delivery.close(timeout=10)
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
    assert delivery.close(timeout=10).delivered == 1
    assert len(tries) == 3
    assert warnings == [
        "the store does not answer: Connection refused; its updates wait; the study goes on"
    ]
