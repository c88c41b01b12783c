"""What is said of a driver that dies without a word of its own.

Where Ray's C++ core cannot go on (its raylet is gone, or a check of its own fails), it ends the
process that uses it with exit code 1, and no handler and no ``finally`` of Python runs; nor does
one when the driver is killed. So a small process stands beside the driver. It ends with it,
silently where the driver ended in order; otherwise it keeps the log and says how to go on.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from study.commands import command
from study.logs import Terminal, keep_log

_IN_ORDER = b"in order"
# A line of Ray's core that tells why it ends a process: [day time, E(rror) or C(ritical), ids].
_RAY_SAID = re.compile(
    r"^\[[\d\- :,]+ [EC] \d+ \d+\] [\w.]+:\d+: +"
    r"(?P<said>.*(?:Check failed|will terminate|will exit|Exiting because).*)$",
    re.MULTILINE,
)
_SAID_CHARACTERS = 240


@contextlib.contextmanager
def last_words(terminal: Terminal, folder: Path) -> Iterator[Callable[[str], None]]:
    """Have it said on standard error if this process dies before the end.

    Args:
        terminal: Where the user reads, and the log that is kept in the study's folder.
        folder: The study's folder, whether or not it is there yet.

    Yields:
        What takes the reason, just before this process ends itself at once.
    """
    beside = subprocess.Popen(
        [
            *(sys.executable, "-m", __name__),
            *(str(terminal.log), str(folder), command("resume", folder)),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=terminal.err,
        # Ctrl-C and a closed terminal are for the driver.
        start_new_session=True,
    )
    assert beside.stdin is not None
    pipe = beside.stdin.fileno()
    try:
        yield lambda reason: _write(pipe, reason)
    finally:
        beside.communicate(_IN_ORDER)


def _write(pipe: int, reason: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # it was ended, too
        os.write(pipe, reason.encode())


def describe_death(
    text: str, kept: Path | None, folder: Path, reason: str = "", again: str | None = None
) -> str:
    """Say that the driver died, what Ray said of it, and how to go on.

    Args:
        text: The log.
        kept: Where it is kept; None if the study's folder was not there yet.
        folder: The study's folder.
        reason: What the driver said itself.
        again: The command that goes on, as the driver's user is to give it.
    """
    if reason:
        first = f"{folder.name}: stopped at once: {reason}"
    else:
        said = [match["said"].strip() for match in _RAY_SAID.finditer(text)]
        why = f"; Ray said: {said[-1][:_SAID_CHARACTERS]}" if said else ": killed, or crashed"
        first = f"error: the driver of {folder.name} died without a word{why}"
    lines = [first]
    if kept is None:
        lines.append("Nothing was recorded yet; give the same command again.")
    else:
        lines.append(f"Its log is {kept}. Nothing that was recorded is lost.")
        lines.append(f"Go on with `{again or command('resume', folder)}`.")
    return "\n".join(lines)


def main() -> None:
    """Wait for the driver's end; log, folder and the command that goes on are the arguments."""
    # Who ends everything around the driver tells this process, too, which is to outlive it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    log, folder, again = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    told = sys.stdin.buffer.read()
    if told == _IN_ORDER:
        return
    text = log.read_text(errors="replace") if log.exists() else ""
    try:
        kept = keep_log(log, folder)
    except OSError:
        kept = log
    print(describe_death(text, kept, folder, told.decode(), again), file=sys.stderr)


if __name__ == "__main__":
    main()
