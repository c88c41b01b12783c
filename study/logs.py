"""What libraries print goes to the study's log file; the terminal belongs to the study's view."""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from study.unread import flush


@dataclass(frozen=True)
class Terminal:
    """The standard streams as they were, while everything else goes to a log file."""

    out: TextIO
    err: TextIO
    log: Path


@contextlib.contextmanager
def output_to_log() -> Iterator[Terminal]:
    """Send the file descriptors of standard output and error to a log file for a while.

    Descriptors, not Python's streams, so that Ray's processes and C libraries write there too. The
    file is temporary until :func:`keep_log` gives it a place in the study's folder. What the log's
    disk has no room for, and what nobody reads in the terminal, is dropped.
    """
    for stream in (sys.stdout, sys.stderr):
        flush(stream)
    descriptor, name = tempfile.mkstemp(prefix="study-", suffix=".log")
    saved = os.dup(1), os.dup(2)
    out = os.fdopen(os.dup(saved[0]), "w", buffering=1)
    err = os.fdopen(os.dup(saved[1]), "w", buffering=1)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    handler = logging.StreamHandler(os.fdopen(descriptor, "a", buffering=1))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield Terminal(out, err, Path(name))
    finally:
        root.removeHandler(handler)
        for stream in (sys.stdout, sys.stderr):
            flush(stream)
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        for stream in (out, err, handler.stream):
            with contextlib.suppress(OSError):
                stream.close()
        for copy in saved:
            os.close(copy)


def keep_log(log: Path, folder: Path | None) -> Path | None:
    """Append a log to the study's own, ``logs/driver.log``, and remove it; None without a study.

    Raises:
        OSError: The disk is full; the log is then left where it is.
    """
    text = log.read_text(errors="replace") if log.exists() else ""
    logs = None if folder is None else folder / "logs"
    kept = logs / "driver.log" if logs is not None and logs.is_dir() else None
    if kept is not None:
        with kept.open("a") as file:
            file.write(text)
    log.unlink(missing_ok=True)
    return kept
