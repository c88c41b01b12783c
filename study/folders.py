"""Which folders are studies; some may be of other people, and closed."""

import stat
from pathlib import Path

from analysis.results import PLAN_FILE
from study.record import RecordError


def is_study(folder: Path) -> bool:
    """Whether a folder is a study.

    Raises:
        OSError: if that may not be known.
    """
    try:
        return stat.S_ISREG((folder / PLAN_FILE).stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def studies_in(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return the names of the studies in a folder, in order; and why others may not be read.

    Raises:
        RecordError: if the folder itself may not be read.
    """
    known, closed = [], {}
    try:
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return [], {}
    except OSError as error:
        raise RecordError(f"{folder} may not be read ({error.strerror})") from error
    for name in names:
        try:
            if is_study(folder / name):
                known.append(name)
        except OSError as error:
            closed[name] = error.strerror or type(error).__name__
    return known, closed
