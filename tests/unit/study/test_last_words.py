"""What is said of a driver that dies without a word."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from study.last_words import describe_death

CHECK_FAILED = (
    "[2026-11-22 05:41:03,835 C 2905 3049] task_manager.cc:1329:  An unexpected system state has "
    "occurred. Check failed: it != submissible_tasks_.end() Tried to complete task"
)
GCS_GONE = (
    "[2026-11-22 03:50:59,593 E 22423 22567] rpc_client.h:204: Failed to connect to GCS within 60 "
    "seconds. The program will terminate."
)
OF_NO_CONCERN = "[2026-11-22 06:38:25,566 E 1 2] core_worker.cc:609: :info_message: recovering"
# A driver in small: it logs, and ends as it is told.
DRIVER = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from study.last_words import last_words
    from study.logs import keep_log, output_to_log

    folder = Path(sys.argv[1])
    with output_to_log() as terminal, last_words(terminal, folder) as say:
        print("a library's word", flush=True)
        if sys.argv[2] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif sys.argv[2] == "left":
            say("Ray was ended")
            os._exit(143)
        elif sys.argv[2] == "ended":
            os._exit(1)
        elif sys.argv[2] == "raised":
            raise ValueError("its own word")
        keep_log(terminal.log, folder)
    """
)


def drive(folder: Path, how: str) -> "subprocess.CompletedProcess[str]":
    # A driver that raises leaves its log where it was.
    with tempfile.TemporaryDirectory() as temporary:
        return subprocess.run(
            [sys.executable, "-c", DRIVER, str(folder), how],
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).parents[3]),
                "TMPDIR": temporary,
            },
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.mark.parametrize(("how", "code"), [("killed", -signal.SIGKILL), ("ended", 1)])
def test_of_a_driver_that_dies_the_log_is_kept_and_it_is_said_how_to_go_on(
    tmp_path: Path, how: str, code: int
) -> None:
    (tmp_path / "mine" / "logs").mkdir(parents=True)
    done = drive(tmp_path / "mine", how)
    assert done.returncode == code
    assert (tmp_path / "mine" / "logs" / "driver.log").read_text() == "a library's word\n"
    assert "the driver of mine died" in done.stderr
    assert "driver.log" in done.stderr
    assert f"`python -m study resume mine --studies {tmp_path}`" in done.stderr


def test_a_driver_that_leaves_at_once_has_its_reason_told(tmp_path: Path) -> None:
    (tmp_path / "mine" / "logs").mkdir(parents=True)
    done = drive(tmp_path / "mine", "left")
    assert done.returncode == 143
    assert done.stderr.startswith("mine: stopped at once: Ray was ended\n")
    assert "python -m study resume mine" in done.stderr
    assert "died" not in done.stderr


def test_before_anything_is_recorded_the_same_command_is_the_mend(tmp_path: Path) -> None:
    done = drive(tmp_path / "mine", "killed")
    assert "give the same command again" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["in order", "raised"])
def test_a_driver_that_ends_in_order_has_its_own_words_alone(tmp_path: Path, how: str) -> None:
    (tmp_path / "mine" / "logs").mkdir(parents=True)
    done = drive(tmp_path / "mine", how)
    assert "died" not in done.stderr
    assert ("its own word" in done.stderr) == (how == "raised")


def test_what_ray_said_of_it_is_handed_on(tmp_path: Path) -> None:
    said = describe_death(f"{CHECK_FAILED}\n*** StackTrace ***\n", None, tmp_path / "mine")
    assert "Ray said: An unexpected system state has occurred. Check failed: it !=" in said
    said = describe_death(f"{GCS_GONE}\n{OF_NO_CONCERN}\n", None, tmp_path / "mine")
    assert "Ray said: Failed to connect to GCS within 60 seconds" in said
    assert "Ray said" not in describe_death(OF_NO_CONCERN, None, tmp_path / "mine")
