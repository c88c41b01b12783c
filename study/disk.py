"""What a study takes on disk, by what it is for."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from analysis.illustration import ILLUSTRATIONS_FOLDER
from analysis.results import JOURNAL_FILE, PLAN_FILE, REPORT_FOLDER
from study.exporting.choice import EXPORTS_FOLDER
from study.exporting.programs import PROGRAMS_FOLDER
from study.names import TEACHERS_FOLDER


@dataclass(frozen=True)
class DiskUse:
    """Bytes of files, as they are listed; links are not followed.

    Attributes:
        checkpoints: Last epochs of trials that run, and the students that are kept.
        models: Students of the front as pt2 files, and what was exported.
        record: The plan and the journal; a record in a database counts as its plan alone.
        report: The report and its tables.
        illustrations: The pictures that the report shows.
        logs: What libraries printed.
        total: Everything in the study's folder.
        teachers: Teachers and their answers, shared by all studies of the studies folder.
        datasets: Decoded images, shared in the same way.
    """

    checkpoints: int
    models: int
    record: int
    report: int
    illustrations: int
    logs: int
    total: int
    teachers: int
    datasets: int


def disk_use(folder: Path) -> DiskUse:
    """Measure the folder of a study, and what it shares with its neighbours.

    A study may be running meanwhile: files that go while they are counted are left out.
    """
    return DiskUse(
        checkpoints=_size(folder / "checkpoints"),
        models=_size(folder / PROGRAMS_FOLDER) + _size(folder / EXPORTS_FOLDER),
        record=_size(folder / PLAN_FILE) + _size(folder / JOURNAL_FILE),
        report=_size(folder / REPORT_FOLDER),
        illustrations=_size(folder / ILLUSTRATIONS_FOLDER),
        logs=_size(folder / "logs"),
        total=_size(folder),
        teachers=_size(folder.parent / TEACHERS_FOLDER),
        datasets=_size(folder.parent / "datasets"),
    )


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; 0 where there is neither."""
    if path.is_file():
        return _length(path)
    # os.walk passes over folders that vanish; Path.rglob does not.
    return sum(_length(Path(at, name)) for at, _, names in os.walk(path) for name in names)


def _length(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.lstat().st_size
    return 0
