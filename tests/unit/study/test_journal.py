"""The journal file stays whole: after a killed writer, and on a disk that is full."""

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from study.journal import mend_journal, open_journal
from study.record import StudyRecord

WRITER = """
import resource, signal, sys
from pathlib import Path
from study.journal import open_journal
journal = open_journal(Path(sys.argv[1]))
journal.append_logs([{"number": 0}])
# From here on the file may grow by ten bytes: a write of more is cut off there, as on a full disk.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
room = Path(sys.argv[1]).stat().st_size + 10
resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
try:
    journal.append_logs([{"number": 1, "much": "x" * 100}])
except OSError as error:
    print("refused", error.errno)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.append_logs([{"number": 2}])
"""


def test_an_append_that_fails_half_way_leaves_no_half_of_a_line(tmp_path: Path) -> None:
    journal = tmp_path / "journal.log"
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(journal)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.startswith("refused")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert lines == [{"number": 0}, {"number": 2}]


def test_the_limit_used_above_is_one_that_cuts_a_write_off(tmp_path: Path) -> None:
    """Without the journal's care, half a line would be there: the test before can fail."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        with (tmp_path / "file").open("wb", buffering=0) as file:
            assert file.write(b"x" * 100) == 10
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_the_lock_of_a_killed_writer_is_not_waited_for(tmp_path: Path) -> None:
    StudyRecord(tmp_path, "study", None)
    journal = tmp_path / "journal.log"
    (tmp_path / "journal.log.lock").symlink_to(journal)  # as Optuna's own lock is

    begun = time.monotonic()
    record = StudyRecord(tmp_path, "study", None)
    record.set_attribute("environment", {})

    assert time.monotonic() - begun < 10  # Optuna's patience is 30 s
    assert [path.name for path in tmp_path.iterdir()] == ["journal.log"]


@pytest.mark.parametrize("torn", ["", '{"number": 1', '{"number": 1}\n{"num', "\0\0\0"])
def test_what_a_killed_writer_left_is_cut_off_to_the_last_whole_line(
    tmp_path: Path, torn: str
) -> None:
    journal = tmp_path / "journal.log"
    journal.write_text('{"number": 0}\n' + torn)

    mend_journal(journal)
    open_journal(journal).append_logs([{"number": 9}])

    numbers = [json.loads(line)["number"] for line in journal.read_text().splitlines()]
    assert numbers == ([0, 1, 9] if "}\n" in torn else [0, 9])


def test_a_journal_that_is_not_there_yet_needs_no_mending(tmp_path: Path) -> None:
    mend_journal(tmp_path / "journal.log")
    assert list(tmp_path.iterdir()) == []
