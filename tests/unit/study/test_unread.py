"""Output whose reader has gone: nothing that is at work ends with it."""

import io
import os
import pty
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from study.console import LastingConsole, make_console
from study.progress import LiveProgress, Progress
from study.unread import say

ROOT = Path(__file__).parents[3]


def pipe() -> TextIO:
    """A pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", buffering=1)


def terminal() -> TextIO:
    """A terminal that was closed."""
    window, theirs = pty.openpty()
    os.close(window)
    return os.fdopen(theirs, "w", buffering=1)


def full_disk() -> TextIO:
    return Path("/dev/full").open("w", buffering=1)


@pytest.fixture(params=[pipe, terminal, full_disk])
def stream(request: pytest.FixtureRequest) -> Iterator[TextIO]:
    opened: TextIO = request.param()
    yield opened
    opened.close()  # of what could not be written nothing is left that Python would write now


def test_a_view_falls_silent_and_what_it_shows_goes_on(stream: TextIO) -> None:
    progress = Progress(stream)
    with progress.phase("teacher") as phase:
        phase.update(1, 1)
    progress.warn("MLflow is away")
    assert progress.console.quiet


def test_what_is_said_to_nobody_is_dropped(stream: TextIO) -> None:
    for length in (10, 100_000):
        say("x" * length, stream)


def test_a_live_view_outlives_the_window_that_it_was_drawn_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    window, theirs = pty.openpty()
    with os.fdopen(theirs, "w", buffering=1) as stream:
        progress = LiveProgress(stream)
        with progress.phase("teacher") as phase:
            phase.update(1, 3)
            time.sleep(0.4)  # redrawn
            os.close(window)
            phase.update(2, 3)
            time.sleep(0.6)
        with progress.trials_phase(2, None):
            progress.say("t0000")
        assert progress.console.quiet


def test_on_a_stream_without_a_descriptor_a_console_falls_silent_too() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    console = make_console(Gone())
    console.print("a line")
    assert isinstance(console, LastingConsole)
    assert console.quiet


# Whatever is written in the log or to the terminal that was, the exit code stays.
DRIVER = textwrap.dedent(
    """
    import sys
    from study.console import make_console
    from study.logs import output_to_log
    from study.unread import say

    print(sys.argv[1], end="")
    with output_to_log() as terminal:
        print("a library's word")
        for stream in (terminal.out, terminal.err):
            stream.write("half a line")
    say("{}", sys.stdout)
    make_console().print("the front")
    say("error: too many trials failed", sys.stderr)
    sys.exit(3)
    """
)


@pytest.mark.parametrize(("before", "unbuffered"), [("", ""), ("", "1"), ("said before", "")])
def test_an_exit_code_does_not_depend_on_readers(
    tmp_path: Path, before: str, unbuffered: str
) -> None:
    with pipe() as nobody:
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, before],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "TMPDIR": str(tmp_path),
                "PYTHONUNBUFFERED": unbuffered,
            },
            stdout=nobody,
            stderr=nobody,
            timeout=60,
        )
    assert done.returncode == 3
    log = next(tmp_path.iterdir())
    assert log.read_text() == "a library's word\n"


def test_a_refusal_that_nobody_reads_keeps_its_exit_code() -> None:
    asked = ["--space", "cifar_blocks", "--data", "none-such"]
    for words in (asked, ["--spaces", "cifar_blocks"]):
        with pipe() as nobody:
            done = subprocess.run(
                [sys.executable, "-m", "study.launch", *words],
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": ""},
                stderr=nobody,
                timeout=60,
            )
        assert done.returncode == 2
