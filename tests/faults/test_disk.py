"""Disks that fill, files that are cut off, data that changes between two runs."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from evidence import (
    EPOCHS,
    PATIENCE_SECONDS,
    Patient,
    assert_equal_studies,
    assert_goes_on,
    assert_sound,
    assert_stopped,
    note,
    selecting,
)
from launching import BRIEF, Launcher

from analysis.results import TrialResult

pytestmark = pytest.mark.faults


@pytest.fixture
def small_disk(ward: Path, whole: tuple[TrialResult, ...], tmp_path: Path) -> Iterator[Path]:
    """A studies folder on a disk of its own, with little more room than its teacher needs."""
    disk = tmp_path / "disk"
    disk.mkdir()
    needed = sum(path.stat().st_size for path in (ward / "teachers").rglob("*") if path.is_file())
    size = f"size={needed // 2**20 + 64}m"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"needs the right to mount a disk ({done.stderr.strip()})")
    shutil.copytree(ward / "teachers", disk / "studies" / "teachers")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Leave not a byte on a disk; removing the file that is returned frees it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return ballast


def test_a_full_disk_halts_a_study_that_goes_on_once_there_is_room(
    small_disk: Path, patient: Callable[..., Patient], whole: tuple[TrialResult, ...]
) -> None:
    study = patient(small_disk / "studies")
    study.hold(EPOCHS + 3)
    driver = study.start("--json")
    study.wait_for_epoch(1, 2)
    ballast = fill(small_disk)
    study.release()
    _, errors = driver.communicate(timeout=PATIENCE_SECONDS)

    assert driver.returncode == 1, errors
    assert "is full" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    ballast.unlink()
    resumed, seconds = study.resume_and_time()
    assert resumed.returncode == 0, resumed.stderr
    assert_sound(study)
    assert_equal_studies(study, whole)
    lost = study.epochs_lost()
    assert 0 <= lost <= 1
    note("disk full", lost, seconds, "test_disk.py -k full_disk")


@pytest.mark.parametrize(
    ("how", "damage"),
    [("SIGTERM", "truncated checkpoint"), ("study stop", "torn last line of the journal")],
)
def test_a_stopped_study_goes_on_and_a_file_cut_off_meanwhile_costs_at_most_its_epoch(
    how: str, damage: str, patient: Callable[..., Patient], whole: tuple[TrialResult, ...]
) -> None:
    study = patient()
    study.hold(EPOCHS + 3)
    driver = study.start("--json")
    study.wait_for_epoch(1, 2)
    if how == "SIGTERM":
        driver.send_signal(signal.SIGTERM)
        study.release()
    else:  # its worker is ended in the midst of an epoch that takes too long
        stopped = study.verb("stop", "--json")
        study.release()
        assert stopped.returncode == 0, stopped.stderr
        assert stopped.result == {"study": study.name, "stopped": True}

    _, lines = assert_stopped(study, driver, 143)
    lost_by_stopping = study.epochs_begun() - epochs_on_disk(study)
    assert 0 <= lost_by_stopping <= 1
    if damage == "truncated checkpoint":
        checkpoint = study.folder / "checkpoints" / "t0001" / "last.pt"
        os.truncate(checkpoint, checkpoint.stat().st_size // 2)
    else:
        with (study.folder / "journal.log").open("a") as journal:
            journal.write('{"op_code":8,"worker_id":"gone","trial_id":1,"user_at')

    seconds = assert_goes_on(study, whole, lines)
    lost = study.epochs_lost() - lost_by_stopping
    assert lost == (1 if damage == "truncated checkpoint" else 0)
    test = f"test_disk.py {selecting(damage)}"
    note(f"{how} (143)", lost_by_stopping, 0, test)  # what comes after is the damage's
    note(damage, lost, seconds, test)


def epochs_on_disk(study: Patient) -> int:
    """Epochs that are in the record of ended trials, or in the checkpoint of the running one."""
    from study.distillation import checkpoint

    held = checkpoint.load(study.folder / "checkpoints" / "t0001" / "last.pt")
    ended = sum(trial.epochs_done for trial in study.record().trials if trial.outcome)
    return ended + len(held["curve"])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of images: some of scikit-learn's digits."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    folder = tmp_path / "pictures"
    for label in range(3):
        images = digits.images[digits.target == label][:60]
        for number, image in enumerate(images):
            split = "test" if number % 4 == 0 else "train"
            place = folder / split / f"class{label}"
            place.mkdir(parents=True, exist_ok=True)
            pixels = (image * 255 / 16).astype(np.uint8)
            Image.fromarray(pixels).resize((32, 32)).save(place / f"{number:02d}.png")
    return folder


def test_data_damaged_between_two_runs_is_named_and_nothing_is_lost(
    pictures: Path, tmp_path: Path, launcher: Launcher
) -> None:
    plan = (
        *BRIEF,
        *("--space", "cifar_blocks", "--data", str(pictures), "--fix", "width=16"),
        *("--views", "2", "--max-epochs", "2", "--teacher-epochs", "2", "--concurrent", "1"),
        *("--name", "pictures", "--tracking-uri", "none", "--json"),
    )
    studies = tmp_path / "studies"
    first = launcher.run(*plan, "--trials", "1", studies=studies)
    assert first.returncode == 0, first.stderr
    record = (studies / "pictures" / "journal.log").read_bytes()
    victim = pictures / "train" / "class1" / "07.png"
    sound = victim.read_bytes()

    victim.write_bytes(sound[: len(sound) // 2])
    damaged = launcher.run(*plan, "--trials", "2", studies=studies)
    victim.write_bytes((pictures / "train" / "class2" / "07.png").read_bytes())
    changed = launcher.run(*plan, "--trials", "2", studies=studies)
    unchanged_record = (studies / "pictures" / "journal.log").read_bytes()
    victim.write_bytes(sound)
    mended = launcher.run(*plan, "--trials", "2", studies=studies)

    assert damaged.returncode == changed.returncode == 2
    assert str(victim) in damaged.stderr.splitlines()[-1]
    assert "the images or labels of the data have changed" in changed.stderr.splitlines()[-1]
    assert unchanged_record == record
    assert mended.returncode == 0, mended.stderr
    assert mended.result["counts"]["complete"] == 2
    note("data damaged between two runs", 0, 0, "test_disk.py -k data_damaged")
