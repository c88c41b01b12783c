"""A command run on a cluster by Ray's Jobs API: what is sent along, and how it looks from here.

The code of this package goes along, so that the cluster needs only what it depends on; so does the
user's own where the space is theirs. Paths in the command are the cluster's.
"""

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TextIO

from cluster.connect import ClusterError
from cluster.jobs import Jobs, check_head
from study.object_store import SCHEME
from study.unread import drop, say

OPTION = "--submit"
_OWN_CODE = "--own-code"
ROOMS = ("study", "search_spaces", "cluster", "analysis")
# More than this is no code.
_MOST_BYTES = 20 * 2**20
# What Ray says of a job before the command itself says anything.
_OF_RAY = ("Running entrypoint for job ", "Runtime env is setting up.")
_FAILED, _SIGNALLED, _INTERRUPTED = 1, 128, 130
# Options whose values are paths, here and there; some may be names instead.
_PATHS = ("--studies", "--data-dir", "--data", "--teacher", "--warm-start", "--output")
_NAMES_TOO = ("--data", "--warm-start")
_URLS = ("--storage", "--tracking-uri")
_RELATIVE = re.compile(r"(sqlite(?:\+\w+)?:///)(?!/|:memory:)(.+)")
_NOT_CODE = frozenset({"__pycache__", "node_modules", "site-packages"})


@dataclass(frozen=True)
class Submission:
    """One command line for the cluster at ``url``.

    Attributes:
        url: Of the cluster's dashboard.
        module: What `python -m` runs: ``study`` or ``study.launch``.
        argv: Its arguments, without ``--submit``.
        studies: The studies folder, on the cluster.
        own_code: Whether the user's own Python files go along.
        as_json: Whether standard output is for a JSON object alone.
    """

    url: str
    module: str
    argv: tuple[str, ...]
    studies: str
    own_code: bool = False
    as_json: bool = False

    @property
    def command(self) -> str:
        """The shell command that the head runs."""
        return shlex.join(["python", "-m", self.module, *self.argv])


def without_option(argv: Sequence[str]) -> tuple[str, ...]:
    """Return a command line without ``--submit URL`` and ``--own-code``, however written."""
    kept: list[str] = []
    words = iter(argv)
    for word in words:
        name, equals, _ = word.partition("=")
        if len(name) > 3 and _OWN_CODE.startswith(name):
            continue
        if len(name) > 3 and OPTION.startswith(name):
            if not equals:
                next(words, None)
            continue
        kept.append(word)
    return tuple(kept)


def check_paths(args: argparse.Namespace) -> None:
    """Refuse relative paths: a job begins in a folder that is gone when it ends.

    Args:
        args: Of a launch or of a verb.

    Raises:
        ClusterError: naming the option and the mend.
    """
    for option in _PATHS:
        path = _value(args, option)
        if path is None or (option == "--studies" and path.startswith(SCHEME)):
            continue
        # Data and another study may also be called by a name.
        by_name = option in _NAMES_TOO and not path.endswith(".csv") and "/" not in path
        if not by_name and not PurePosixPath(path).is_absolute():
            raise ClusterError(
                f"{option} {path}: with {OPTION} it is a path on the cluster, which begins with /; "
                f"as in {option} /data/{PurePosixPath(path).name or 'studies'}"
            )
    for option in _URLS:
        url = _value(args, option)
        file = None if url is None else _RELATIVE.match(url)
        if file is not None:
            raise ClusterError(
                f"{option} {url}: with {OPTION} the file is the cluster's, and its path begins "
                f"with /; as in {option} {file[1]}/data/{PurePosixPath(file[2]).name}"
            )


def _value(args: argparse.Namespace, option: str) -> str | None:
    value: str | None = getattr(args, option.removeprefix("--").replace("-", "_"), None)
    return value


def data_beside(studies: str) -> tuple[str, str]:
    """Say where data sets lie: the default is below a folder that is gone when the job ends.

    Raises:
        ClusterError: if the studies are in an object store, which holds none.
    """
    if studies.startswith(SCHEME):
        raise ClusterError(
            f"--studies {studies}: data sets are files; say with --data-dir where they lie on "
            "the cluster"
        )
    place = str(PurePosixPath(studies) / "data")
    say(f"data sets are looked for in {place} there (--data-dir)", sys.stderr)
    return "--data-dir", place


def run_there(submission: Submission) -> int:
    """Run a command on the cluster, show what it prints, and return its exit code.

    Returns:
        The command's; of one that is not followed to its end, 130 where that was asked for, else 1.

    Raises:
        ClusterError: if the cluster cannot be reached, or does not take it.
    """
    check_head(submission.url)
    jobs = Jobs(submission.url)
    with _folder_to_send(submission.own_code) as folder:
        job = jobs.submit(submission.command, folder, _environment())
    say(f"job {job} at {submission.url}", sys.stderr)
    shown = _Shown(submission.as_json)
    try:
        code, message = jobs.follow(job, shown.write)
        shown.end()
    except ClusterError as lost:
        shown.end()
        # What was asked for is no mistake: the job was taken, and may be writing.
        say(f"error: {lost}: {_look_again(submission)}", sys.stderr)
        return _FAILED
    except (KeyboardInterrupt, OSError) as stopped:
        if isinstance(stopped, OSError):
            drop(sys.stdout)  # whoever read it has gone, as `head` does
        say(
            f"\nnot followed any more; job {job} goes on there: {_look_again(submission)}",
            sys.stderr,
        )
        if isinstance(stopped, KeyboardInterrupt):
            return _INTERRUPTED
        return _FAILED
    finally:
        shown.end()
    # Of a driver that ended by itself, the log says why.
    if code is None or code < 0 or (code > 0 and not shown.any):
        said = message.splitlines()[0] if message else "it failed"
        if code is not None and code < 0:
            said = f"its driver was ended by signal {-code}"
        say(f"error: job {job}: {said}", sys.stderr)
    if code is None:
        return _FAILED
    return code if code >= 0 else _SIGNALLED - code


def _look_again(submission: Submission) -> str:
    """The command that shows what has become of a job's study."""
    return (
        f"python -m study status|stop NAME --studies {submission.studies} {OPTION} {submission.url}"
    )


def _environment() -> dict[str, str]:
    # A job's output is a file: without these, lines would come late and be wrapped at 80 columns.
    return {"PYTHONUNBUFFERED": "1", "COLUMNS": str(shutil.get_terminal_size((120, 40)).columns)}


class _Shown:
    """Tells a job's one log apart again: objects and text to standard output, errors to the other.

    Args:
        as_json: Whether standard output is for a JSON object alone.
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._rest = ""
        self.any = False

    def write(self, text: str) -> None:
        """Show what is new, by whole lines.

        Raises:
            OSError: if nobody reads standard output any more.
        """
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._line(line)

    def end(self) -> None:
        """Show a last line that has no end, if anybody reads it."""
        line, self._rest = self._rest, ""
        try:
            if line:
                self._line(line)
        except OSError:
            drop(sys.stdout)

    def _line(self, line: str) -> None:
        if not self.any and any(words in line for words in _OF_RAY):
            return
        self.any = True
        stream = self._stream(line)
        if stream is sys.stderr:
            say(line, stream)
        else:
            print(line, file=stream, flush=True)

    def _stream(self, line: str) -> TextIO:
        if line.startswith("error: "):
            return sys.stderr
        if not self._as_json:
            return sys.stdout
        return sys.stdout if _is_object(line) else sys.stderr


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


@contextlib.contextmanager
def _folder_to_send(own_code: bool) -> Iterator[Path]:
    """Put together what is sent: this package, and the Python files under the working directory.

    Raises:
        ClusterError: if those are more than code can be.
    """
    with tempfile.TemporaryDirectory(prefix="study-submit-") as name:
        folder = Path(name)
        if own_code:
            _copy_own(Path.cwd(), folder)
        home = Path(__file__).parents[1]
        for room in ROOMS:
            shutil.copytree(
                home / room,
                folder / room,
                # What begins with a dot is no code and may be passwords: cluster/mlflow/.env.
                ignore=shutil.ignore_patterns("__pycache__", "*.png", ".*"),
                dirs_exist_ok=True,
            )
        yield folder


def _copy_own(source: Path, folder: Path) -> None:
    left = _MOST_BYTES
    for here, inside, files in os.walk(source):
        place = Path(here)
        inside[:] = [
            name
            for name in inside
            if not name.startswith(".")
            and name not in _NOT_CODE
            and not (place / name / "pyvenv.cfg").exists()
            and not (place == source and name in ROOMS)
        ]
        for name in files:
            # What begins with a dot may be passwords; an editor's lock is a link to nowhere.
            if name.startswith(".") or not name.endswith(".py") or not (place / name).is_file():
                continue
            left -= (place / name).stat().st_size
            if left < 0:
                raise ClusterError(
                    f"{source} holds more than {_MOST_BYTES >> 20} MB of Python files, which would "
                    f"all be sent; give the command in the folder of your space alone"
                )
            target = folder / (place / name).relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(place / name, target)
