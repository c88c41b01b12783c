"""Checkpoints written beside the training: nothing lost that was promised, at a bounded price."""

import errno
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from study.distillation import checkpoint
from study.distillation.checkpoint_writer import JUDGED_BY, MOST, CheckpointWriter
from study.distillation.phases import PhaseClock


def written(writer: CheckpointWriter, epochs: int, trained: float) -> int:
    """How many of so many epochs, of so many seconds each, are written."""
    count = 0
    for epoch in range(epochs):
        if writer.due(trained):
            writer.write({"epoch": epoch}, time.perf_counter())
            writer.wait()
            count += 1
    return count


def slow_save(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    save = checkpoint.save

    def slow(path: Path, state: dict[str, Any]) -> None:
        time.sleep(seconds)
        save(path, state)

    monkeypatch.setattr(checkpoint, "save", slow)


def test_the_worker_goes_on_while_a_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write = threading.Event()
    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda *a: may_write.wait(10) and save(*a))
    writer = CheckpointWriter(tmp_path / "last.pt")

    writer.write({"weights": torch.ones(3)}, time.perf_counter())

    assert not (tmp_path / "last.pt").exists()
    may_write.set()
    writer.wait()
    assert torch.equal(checkpoint.load(tmp_path / "last.pt")["weights"], torch.ones(3))


def test_a_full_disk_is_told_of_when_the_write_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, state: dict[str, Any]) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    writer = CheckpointWriter(tmp_path / "last.pt")
    monkeypatch.setattr(checkpoint, "save", full)
    writer.write({}, time.perf_counter())

    with pytest.raises(OSError, match="no space"):
        writer.wait()
    writer.wait()  # told once


def test_epochs_that_are_long_beside_a_write_all_leave_a_checkpoint(tmp_path: Path) -> None:
    assert written(CheckpointWriter(tmp_path / "last.pt"), 10, trained=60.0) == 10


def test_of_epochs_shorter_than_a_write_few_are_written_and_never_none_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_save(monkeypatch, 0.03)
    epochs, trained = 120, 0.05
    writer = CheckpointWriter(tmp_path / "last.pt")

    count = written(writer, epochs, trained)

    # 30 ms a write or more, of which 3 % of the training pays for one a second.
    assert JUDGED_BY < count <= JUDGED_BY + epochs * trained * MOST / 0.03
    every = CheckpointWriter(tmp_path / "every.pt", every_epoch=True)
    assert written(every, 10, trained) == 10


def test_what_is_lost_is_less_than_a_write_costs_over_the_share_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_save(monkeypatch, 0.01)
    writer = CheckpointWriter(tmp_path / "last.pt")
    written(writer, JUDGED_BY, trained=0.01)

    # Ten times what ten milliseconds may cost, however long the writes took on a busy machine.
    assert not writer.due(0.001)
    assert writer.due(10 * 0.01 / MOST + 60)


def test_phases_add_up_to_all_the_time_there_was() -> None:
    began = time.perf_counter()
    clock = PhaseClock("data")
    for _ in range(100):
        clock.enter("teacher")
        assert clock.enter("steps") == "teacher"
        clock.enter("data")
    time.sleep(0.02)
    spent = clock.take()
    elapsed = time.perf_counter() - began

    assert set(spent) == {"data", "teacher", "steps"}
    assert sum(spent.values()) == pytest.approx(elapsed, abs=0.005)
    assert spent["data"] >= 0.02
    assert sum(clock.take().values()) < 1.0  # from nought


def test_entering_a_phase_costs_next_to_nothing() -> None:
    clock = PhaseClock("data")
    began = time.process_time()
    for _ in range(10_000):
        clock.enter("steps")
    # Three a step: of the shortest step there is, a third of a millisecond, under a hundredth.
    assert (time.process_time() - began) / 10_000 < 20e-6
