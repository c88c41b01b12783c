"""Signals that ask a study to end."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

# A driver in small, that waits where Python runs no handlers, as one does that waits for Ray.
DRIVER = textwrap.dedent(
    """
    import ctypes, sys, time
    from study import ending

    ending._GONE_SECONDS = 0.5
    ending.own_ray_is_gone = lambda: sys.argv[1] == "silent"
    ending.StoreWatch.ends_within = lambda *_: time.sleep(0.1) or sys.argv[1] == "ended"
    stop = ending.StopRequest(say=lambda reason: print(reason, flush=True))
    stop.between_trials = sys.argv[1] != "there"
    stop.install()
    print("ready", flush=True)
    if sys.argv[1] == "closed":
        ending.StoreWatch.ends_within = lambda *_: time.sleep(0.1) or stop._wakeup is None
        while stop.signum is None:
            time.sleep(0.01)
        stop.close()
        time.sleep(1)
        print("went on", flush=True)
        sys.exit()
    library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    if sys.argv[1] != "there":
        for _ in range(2):
            library.pthread_mutex_lock(mutex)
    while True:
        library.usleep(200_000)
    """
)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("ray", ["silent", "ended"])
def test_a_driver_leaves_when_its_ray_was_ended_by_the_same_signal(
    ray: str, signum: signal.Signals
) -> None:
    driver = start(ray)
    driver.send_signal(signum)
    said, _ = driver.communicate(timeout=120)
    assert driver.returncode == 128 + signum
    assert said.startswith(f"{signum.name} ended Ray as well")


def test_a_driver_whose_ray_is_there_unwinds() -> None:
    driver = start("there")
    driver.send_signal(signal.SIGTERM)
    said, errors = driver.communicate(timeout=120)
    assert said == ""
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_who_is_watched_no_more_is_not_ended_when_a_later_ray_goes() -> None:
    driver = start("closed")
    driver.send_signal(signal.SIGTERM)
    said, errors = driver.communicate(timeout=120)
    assert (driver.returncode, said, errors) == (0, "went on\n", "")


def start(ray: str) -> "subprocess.Popen[str]":
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, ray],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert driver.stdout is not None
    assert driver.stdout.readline() == "ready\n"
    return driver
