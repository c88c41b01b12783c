"""What a check of `python -m study doctor` is given, and what it says."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

State = Literal["ok", "note", "fail"]


@dataclass(frozen=True)
class Check:
    """What was found about one thing that a study needs.

    Attributes:
        name: What was looked at, in a word or two.
        state: ``fail`` where a study could not run, ``note`` where one runs less well than it
            could, or needs something first.
        text: What was found, in one line.
        mend: What to do about it, in one line.
    """

    name: str
    state: State
    text: str
    mend: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, one key a field."""
        return asdict(self)


@dataclass(frozen=True)
class Scope:
    """What to look at, as the arguments of a launch name it.

    Attributes:
        studies: The studies folder, which need not exist.
        data: A data set's name or the path of an image folder; None for the built-in data sets.
        data_dir: Where data sets are looked for; None for the default.
        tracking_uri: MLflow; None for the database in the studies folder.
        address: A running Ray cluster; None for one of its own.
    """

    studies: Path
    data: str | None = None
    data_dir: Path | None = None
    tracking_uri: str | None = None
    address: str | None = None


Examine = Callable[[Scope], Check]


def attempt(name: str, examine: Examine, scope: Scope) -> Check:
    """Run one check; an error that it did not expect becomes its finding."""
    try:
        return examine(scope)
    except ImportError as error:
        return Check(name, "fail", describe(error), "see packages")
    except Exception as error:
        return Check(name, "fail", describe(error))


def describe(error: BaseException) -> str:
    """Return the type and the first line of an error."""
    return f"{type(error).__name__}: {first_line(error)}".removesuffix(": ")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message that is not empty, without passwords in URLs."""
    from analysis.formatting import without_password

    lines = (line.strip() for line in str(error).splitlines())
    return without_password(next(filter(None, lines), ""))


def in_units(count: float) -> str:
    """Return a number of bytes as people read it: ``18.2 MB``."""
    from analysis.formatting import NBSP, size

    return size(count).replace(NBSP, " ")


def number_of(count: int, noun: str) -> str:
    """Return a count with its noun: ``1 node``, ``2 nodes``."""
    from analysis.formatting import NBSP, counted

    return counted(count, noun).replace(NBSP, " ")
