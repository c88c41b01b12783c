import shutil
import threading
import time
from dataclasses import asdict
from pathlib import Path

from study.disk import disk_use


def write(path: Path, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * count)


def test_every_byte_is_counted_under_what_it_is_for(tmp_path: Path) -> None:
    study = tmp_path / "mine"
    write(study / "plan.json", 100)
    write(study / "journal.log", 2_000)
    write(study / "lock", 7)
    write(study / "checkpoints" / "t0001" / "last.pt", 30_000)
    write(study / "checkpoints" / "t0002" / "student.pt", 40_000)
    write(study / "models" / "t0002.pt2", 41_000)
    write(study / "exports" / "mine-t0002.onnx", 39_000)
    write(study / "report" / "figures" / "front.svg", 500)
    write(study / "illustrations" / "saliency-0-0-abc.png", 8)
    write(study / "logs" / "driver.log", 60)
    write(tmp_path / "teachers" / "abc" / "weights.pt", 800_000)
    write(tmp_path / "datasets" / "def.npz", 900_000)
    write(tmp_path / "other" / "journal.log", 5)

    assert asdict(disk_use(study)) == {
        "checkpoints": 70_000,
        "models": 80_000,
        "record": 2_100,
        "report": 500,
        "illustrations": 8,
        "logs": 60,
        "total": 152_675,
        "teachers": 800_000,
        "datasets": 900_000,
    }


def test_what_is_not_there_takes_nothing(tmp_path: Path) -> None:
    assert set(asdict(disk_use(tmp_path / "none")).values()) == {0}


def test_links_are_not_followed(tmp_path: Path) -> None:
    study = tmp_path / "mine"
    write(tmp_path / "far" / "large.bin", 1_000_000)
    (study / "checkpoints").mkdir(parents=True)
    (study / "checkpoints" / "t0001").symlink_to(tmp_path / "far")
    (study / "checkpoints" / "gone.pt").symlink_to(tmp_path / "nowhere")

    assert disk_use(study).total < 1_000


def test_files_may_come_and_go_while_they_are_counted(tmp_path: Path) -> None:
    study = tmp_path / "mine"
    write(study / "plan.json", 10)
    trial = study / "checkpoints" / "t0001"
    done = threading.Event()

    def run_trials() -> None:
        while not done.is_set():
            for number in range(20):
                write(trial / f"{number}.pt", 1)
            shutil.rmtree(trial)

    driver = threading.Thread(target=run_trials)
    driver.start()
    try:
        uses = [disk_use(study) for _ in range(300)]
        # On a busy machine the thread may not have had its turn yet.
        deadline = time.monotonic() + 30
        while len({use.checkpoints for use in uses}) < 2 and time.monotonic() < deadline:
            uses.append(disk_use(study))
    finally:
        done.set()
        driver.join()
    assert {use.record for use in uses} == {10}
    assert len({use.checkpoints for use in uses}) > 1
