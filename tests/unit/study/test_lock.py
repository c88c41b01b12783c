"""One driver a study: who holds the lock, who may take it over, how a driver is asked to stop."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from study import lock as locks
from study import watch
from study.lock import (
    LOCK_FILE,
    Holder,
    LockedError,
    LockReadError,
    StudyLock,
    check_free,
    is_live,
    read_holder,
)
from study.watch import STOP_FILE, request_stop, wait_for_stop, watching


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.3)


def write_lock(folder: Path, **different: object) -> None:
    (folder / LOCK_FILE).write_text(json.dumps({**vars(Holder.me()), **different}))


def test_a_second_driver_is_told_who_holds_the_study_and_since_when(tmp_path: Path) -> None:
    with StudyLock(tmp_path):
        holder = read_holder(tmp_path)
        assert holder is not None
        assert is_live(tmp_path)
        with pytest.raises(LockedError, match=str(os.getpid())) as told, StudyLock(tmp_path):
            pass
        assert holder.since in str(told.value)
        assert holder.host in str(told.value)
        with pytest.raises(LockedError):
            check_free(tmp_path)
    assert not is_live(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_whose_process_is_gone_is_taken_over(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_lock(tmp_path, pid=ended.pid)

    check_free(tmp_path)
    with StudyLock(tmp_path) as lock:
        assert lock.taken_over is not None
        assert lock.taken_over.pid == ended.pid


def test_a_killed_process_that_nobody_waited_for_is_gone(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    started = locks._started(process.pid)
    write_lock(tmp_path, pid=process.pid, started=started)
    assert is_live(tmp_path)
    process.kill()
    deadline = time.monotonic() + 60
    while is_live(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.wait()


def test_a_later_process_of_the_same_pid_does_not_hold_the_lock(tmp_path: Path) -> None:
    write_lock(tmp_path, started=Holder.me().started - 1)

    assert not is_live(tmp_path)


def test_a_lock_from_before_a_reboot_is_not_seen_and_has_no_beat(
    tmp_path: Path, hurried: None
) -> None:
    write_lock(tmp_path, system="another boot")

    with StudyLock(tmp_path) as lock:
        assert lock.taken_over is not None


@pytest.mark.parametrize("elsewhere", [{"host": "elsewhere"}, {"system": "another container"}])
def test_a_lock_held_elsewhere_is_taken_over_only_without_a_beat(
    tmp_path: Path, hurried: None, elsewhere: dict[str, str]
) -> None:
    write_lock(tmp_path, **elsewhere, pid=1)
    waited_for: list[Holder] = []

    check_free(tmp_path)  # cannot be told at once
    begun = time.monotonic()
    with StudyLock(tmp_path, waited_for.append) as lock:
        assert lock.taken_over is not None
        assert time.monotonic() - begun >= 0.3
    assert [holder.pid for holder in waited_for] == [1]


def test_a_lock_held_elsewhere_with_a_beat_is_respected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 5.0)
    write_lock(tmp_path, host="elsewhere")

    def beat(_: Holder) -> None:
        write_lock(tmp_path, host="elsewhere", beat=1)

    # It beats once it is waited for.
    with pytest.raises(LockedError, match="elsewhere"), StudyLock(tmp_path, beat):
        pass


def test_a_lock_that_a_holder_elsewhere_gives_back_meanwhile_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 60.0)
    write_lock(tmp_path, host="elsewhere")
    begun = time.monotonic()

    # It ends once it is waited for.
    with StudyLock(tmp_path, lambda _: (tmp_path / LOCK_FILE).unlink()) as lock:
        assert lock.is_mine()
        assert lock.taken_over is None
    assert time.monotonic() - begun < 30


def test_of_many_that_find_the_holder_gone_one_gets_the_lock(tmp_path: Path) -> None:
    write_lock(tmp_path, started=0.0)
    script = (
        "import sys\nfrom pathlib import Path\nfrom study.lock import LockedError, StudyLock\n"
        f"try:\n    StudyLock(Path({str(tmp_path)!r})).__enter__()\n"
        "except LockedError:\n    print('refused', flush=True)\n"
        "else:\n    print('taken', flush=True)\n"
        "sys.stdin.read()\n"  # whoever has it lives until all have answered
    )
    how: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    racers = [subprocess.Popen([sys.executable, "-c", script], **how) for _ in range(6)]
    answers = [racer.stdout.readline().strip() for racer in racers if racer.stdout is not None]
    for racer in racers:
        racer.communicate(timeout=60)

    assert sorted(answers) == ["refused"] * 5 + ["taken"]


def test_a_damaged_lock_is_taken_over(tmp_path: Path, hurried: None) -> None:
    (tmp_path / LOCK_FILE).write_text('{"host": ')

    with StudyLock(tmp_path):
        assert is_live(tmp_path)


def test_a_lock_of_another_version_is_taken_over_only_without_a_beat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 5.0)
    write_lock(tmp_path, zone="x")
    waited_for: list[str] = []

    def beat(holder: Holder) -> None:
        waited_for.append(str(holder))
        write_lock(tmp_path, zone="x", beat=1)

    lock = StudyLock(tmp_path, beat)
    with pytest.raises(LockedError, match="of another version of this package"), lock:
        pass
    assert waited_for == ["a driver whose lock is damaged, or of another version of this package"]
    assert "zone" in (tmp_path / LOCK_FILE).read_text()

    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.3)
    with StudyLock(tmp_path) as lock:
        assert lock.taken_over is not None
        assert lock.is_mine()


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Has locks be files that cannot be read, until the next call; no disk here does that."""
    whole, broken = Path.read_text, [False]

    def read(path: Path, *args: Any, **kwargs: Any) -> str:
        if broken[0] and path.name == LOCK_FILE:
            raise OSError(errno.EIO, "Input/output error")
        return whole(path, *args, **kwargs)

    def turn() -> None:
        broken[0] = not broken[0]

    monkeypatch.setattr(Path, "read_text", read)
    return turn


def test_a_driver_that_cannot_read_the_lock_leaves_it_to_whoever_has_it(
    tmp_path: Path, unreadable: Callable[[], None]
) -> None:
    words = rf"study {tmp_path.name} cannot be read \({tmp_path}/lock: Input/output error\)"
    with StudyLock(tmp_path) as lock:
        unreadable()
        with pytest.raises(LockReadError, match=words), StudyLock(tmp_path):
            pass
        for ask in (check_free, is_live, read_holder):
            with pytest.raises(LockReadError, match=words):
                ask(tmp_path)
        unreadable()
        assert lock.is_mine()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_cannot_be_given_back_stays_and_raises_nothing(
    tmp_path: Path, unreadable: Callable[[], None]
) -> None:
    """A study is over all the same when its lock cannot be given back; its process is gone then."""
    with StudyLock(tmp_path):
        unreadable()
    unreadable()

    assert read_holder(tmp_path) is not None


# The watch


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """Signals that reach this process."""
    signals: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda signum, frame: signals.append(signum))
    yield signals
    signal.signal(signal.SIGTERM, before)


def wait_until_heard(heard: list[int]) -> None:
    deadline = time.monotonic() + 60
    while not heard:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_request_to_stop_reaches_the_driver_as_a_signal(tmp_path: Path, heard: list[int]) -> None:
    with StudyLock(tmp_path) as lock, watching(tmp_path, lock) as lost:
        holder = read_holder(tmp_path)
        assert holder is not None
        request_stop(tmp_path, holder)
        wait_until_heard(heard)
        assert not lost.is_set()
        assert not wait_for_stop(tmp_path, holder, timeout=0.3)
    assert heard == [signal.SIGTERM]
    assert wait_for_stop(tmp_path, holder, timeout=0)
    assert list(tmp_path.iterdir()) == []


def test_a_request_to_an_earlier_driver_stops_nobody_else(tmp_path: Path, heard: list[int]) -> None:
    with StudyLock(tmp_path) as lock, watching(tmp_path, lock):
        request_stop(tmp_path, Holder("here", 1, "s", 1.0, "yesterday"))
        time.sleep(1.2)
    assert heard == []


def wait_for_a_beat(folder: Path) -> None:
    before, deadline = read_holder(folder), time.monotonic() + 60
    while read_holder(folder) == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES])
def test_a_request_that_cannot_be_removed_is_heard_once_and_ends_no_watch(
    tmp_path: Path, heard: list[int], monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    monkeypatch.setattr(watch, "BEAT_SECONDS", 0.1)
    whole = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name == STOP_FILE:
            raise OSError(error, os.strerror(error))
        whole(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    with StudyLock(tmp_path) as lock, watching(tmp_path, lock):
        holder = read_holder(tmp_path)
        assert holder is not None
        request_stop(tmp_path, holder)
        wait_until_heard(heard)
        wait_for_a_beat(tmp_path)
        wait_for_a_beat(tmp_path)
        assert heard == [signal.SIGTERM]
        request_stop(tmp_path, holder)  # again: it is to stop at once
        deadline = time.monotonic() + 60
        while len(heard) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_no_error_ends_the_watch(
    tmp_path: Path, heard: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "BEAT_SECONDS", 0.1)
    whole, failed = StudyLock.is_mine, []

    def is_mine(lock: StudyLock) -> bool:
        if not failed:
            failed.append(True)
            raise RuntimeError("a driver of a database in trouble")
        return whole(lock)

    monkeypatch.setattr(StudyLock, "is_mine", is_mine)
    with StudyLock(tmp_path) as lock, watching(tmp_path, lock) as lost:
        wait_for_a_beat(tmp_path)
        assert failed
        assert not lost.is_set()
    assert heard == []


def test_a_driver_whose_lock_cannot_be_read_for_a_moment_goes_on(
    tmp_path: Path,
    heard: list[int],
    monkeypatch: pytest.MonkeyPatch,
    unreadable: Callable[[], None],
) -> None:
    monkeypatch.setattr(watch, "BEAT_SECONDS", 0.1)
    with StudyLock(tmp_path) as lock, watching(tmp_path, lock) as lost:
        holder = read_holder(tmp_path)
        assert holder is not None
        unreadable()
        assert not wait_for_stop(tmp_path, holder, timeout=1.2)
        unreadable()
        before = read_holder(tmp_path)
        assert before is not None
        deadline = time.monotonic() + 60
        while read_holder(tmp_path) == before:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert not lost.is_set()
    assert heard == []
    assert list(tmp_path.iterdir()) == []


def test_a_driver_of_another_version_is_asked_to_stop_in_its_own_words(tmp_path: Path) -> None:
    write_lock(tmp_path, zone="x")
    holder = read_holder(tmp_path)
    assert holder is not None
    request_stop(tmp_path, holder)

    assert (tmp_path / STOP_FILE).read_text() == (tmp_path / LOCK_FILE).read_text()


def test_a_driver_beats_and_notices_that_its_lock_was_taken(
    tmp_path: Path, heard: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "BEAT_SECONDS", 0.1)
    with StudyLock(tmp_path) as lock, watching(tmp_path, lock) as lost:
        deadline = time.monotonic() + 60
        while (holder := read_holder(tmp_path)) is None or holder.beat < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        write_lock(tmp_path, pid=1, host="elsewhere")
        wait_until_heard(heard)
        assert lost.is_set()
    taken = read_holder(tmp_path)
    assert taken is not None
    assert taken.host == "elsewhere"  # the other's lock stays
