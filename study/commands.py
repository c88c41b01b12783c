"""Commands of this program as people are told to give them, from the directory they are in."""

import shlex
from pathlib import Path

_STUDIES = Path("studies")  # where --studies is left out


class _User:
    """Where whoever started this process is, once the process has gone elsewhere."""

    directory: Path | None = None


def keep_directory() -> None:
    """Take note of where the user is, before this process enters another directory."""
    _User.directory = _User.directory or Path.cwd()


def command(verb: str, folder: Path, *options: str) -> str:
    """Return ``python -m study VERB NAME OPTIONS``, which names the studies folder if need be.

    Args:
        verb: What to do.
        folder: The study's folder; a relative one begins where the user is.
        options: What follows the study's name.
    """
    from study.mirror import shown

    studies = folder.parent
    usual = _STUDIES
    if studies.is_absolute():
        usual = (_User.directory or Path.cwd()) / _STUDIES
    where = [] if studies == usual else ["--studies", shown(studies)]
    return shlex.join(["python", "-m", "study", verb, folder.name, *options, *where])
