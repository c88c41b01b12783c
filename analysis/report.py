"""The report of a study: one self-contained page, its tables and its charts as files.

python -m analysis.report studies/NAME
python -m analysis.report studies/NAME --format html,tex,png --json

reads the record in that folder with its pictures, and nothing else, and writes into its folder
`report`. The same record gives the same bytes.
"""

import argparse
import difflib
import errno
import json
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from analysis.export import results_markdown, to_csv
from analysis.findings import find
from analysis.illustration import read_pictures
from analysis.images import draw_images
from analysis.latex import results_latex
from analysis.page import draw_figures, render
from analysis.record import StudyResults, read_record
from analysis.results import REPORT_FOLDER
from analysis.table import front_table, published_table, results_table
from analysis.wording import sentences

__all__ = [
    "DEFAULT_FORMATS",
    "FORMATS",
    "ReportError",
    "Written",
    "main",
    "parse_formats",
    "render",
    "write_formats",
    "write_report",
]


# No file of a report takes as long to write.
_UNFINISHED_SECONDS = 3600.0


class ReportError(OSError):
    """A report that cannot be written; the message names its folder and the mend."""


class Written(NamedTuple):
    """What was written, and what was not, a sentence each."""

    paths: list[Path]
    not_written: list[str]


def _html(results: StudyResults, study_folder: Path) -> dict[str, str]:
    return {"index.html": render(results, read_pictures(study_folder, results.illustrations))}


def _csv(results: StudyResults, _: Path) -> dict[str, str]:
    tables = {"results.csv": results_table(results), "front.csv": front_table(results)}
    if results.plan.space.published is not None:
        tables["published.csv"] = published_table(results)
    return {name: to_csv(table) for name, table in tables.items()}


def _markdown(results: StudyResults, _: Path) -> dict[str, str]:
    return {"results.md": results_markdown(results)}


def _latex(results: StudyResults, _: Path) -> dict[str, str]:
    return {"results.tex": results_latex(results)}


_WRITERS: dict[str, Callable[[StudyResults, Path], dict[str, str]]] = {
    "html": _html,
    "csv": _csv,
    "md": _markdown,
    "tex": _latex,
}
FORMATS = (*_WRITERS, "png")
DEFAULT_FORMATS = ("html", "csv", "md")


def write_report(study_folder: Path, formats: Sequence[str] = DEFAULT_FORMATS) -> list[Path]:
    """Writes the report of the study in a folder into its `report` folder.

    Each file is written beside its place and renamed into it, so a reader never sees half of one.

    Args:
        study_folder: the folder that holds `plan.json`.
        formats: some of `FORMATS`.

    Returns:
        The files written: of the default formats index.html, results.csv, front.csv, results.md
        and, of a space with a published table, published.csv.

    Raises:
        RecordReadError: no study there, or a damaged one.
        ReportError: the folder or a file in it cannot be written.
    """
    return write_formats(read_record(study_folder), study_folder, formats).paths


def write_formats(results: StudyResults, study_folder: Path, formats: Sequence[str]) -> Written:
    """Writes the report of a study that has been read, as :func:`write_report` does.

    Raises:
        ReportError: the folder or a file in it cannot be written.
    """
    folder = study_folder / REPORT_FOLDER
    with _explained(folder):
        folder.mkdir(exist_ok=True)
        _sweep(folder)
    written = Written([], [])
    for kind in formats:
        contents: dict[str, bytes] = {}
        if kind == "png":
            images = draw_images(draw_figures(results))
            contents = images.files
            if images.why_none is not None:
                written.not_written.append(images.why_none)
        else:
            texts = _WRITERS[kind](results, study_folder)
            contents = {name: content.encode() for name, content in texts.items()}
        with _explained(folder):
            written.paths.extend(put(folder / name, made) for name, made in contents.items())
    return written


def put(path: Path, content: bytes) -> Path:
    """Writes a file beside its place and renames it into it; returns its path.

    Raises:
        OSError: it cannot be written; the error names `path`, and nothing is left of it.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    # No other process has that name, and no file system finds it too long.
    unfinished = path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex}.tmp")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return path


def _sweep(folder: Path) -> None:
    """Removes what killed processes were writing into the folder of a report."""
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):
            ours = re.fullmatch(r"\..+\.[0-9a-f]{32}\.tmp", path.name) is not None
            if ours and time.time() - path.stat().st_mtime > _UNFINISHED_SECONDS:
                path.unlink()


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turns what writing into the folder of a report raises into a line for the user."""
    try:
        yield
    except OSError as error:
        at = Path(error.filename or folder)
        reason = error.strerror or str(error)
        if isinstance(error, FileExistsError | IsADirectoryError | NotADirectoryError):
            mend = f"move {at} away"
        elif error.errno in (errno.ENOSPC, errno.EDQUOT):
            mend = "make room there"
        else:
            mend = f"make it and {folder.parent} writable"
        file = "" if at == folder else f"{at.name}: "
        raise ReportError(f"{folder} cannot be written ({file}{reason}); {mend}") from error


def parse_formats(text: str) -> tuple[str, ...]:
    """`html,png` as a tuple, each once.

    Raises:
        ValueError: one of them is not known; the message names the nearest one that is.
    """
    names = [name.strip().lower() for name in text.split(",")]
    for name in names:
        if name not in FORMATS:
            near = difflib.get_close_matches(name, FORMATS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ValueError(f"no format {name!r}: {hint}choose from {', '.join(FORMATS)}")
    return tuple(dict.fromkeys(names))


def summary(results: StudyResults, written: Written) -> dict[str, Any]:
    """What `--json` prints: the findings as numbers, and the files."""
    found = find(results)
    return {
        "study": results.name,
        "found": [line.replace("\u00a0", " ") for line in sentences(results, found)],
        "front": [trial.name for trial in found.front],
        "best_trade_off": found.best_trade_off.name if found.best_trade_off else None,
        "hypervolume": found.hypervolume,
        "files": [str(path.absolute()) for path in written.paths],
        "not_written": written.not_written,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, or 2 of a format or a folder that is no good."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.report",
        description="Write the report of a study from its record.",
        epilog="example: python -m analysis.report studies/quickstart --format html,tex",
    )
    parser.add_argument(
        "study_folder", metavar="STUDY_FOLDER", type=Path, help="folder that holds plan.json"
    )
    parser.add_argument(
        "--format",
        metavar="KINDS",
        default=",".join(DEFAULT_FORMATS),
        help=f"what to write, some of {','.join(FORMATS)} (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print findings and files as JSON")
    asked = parser.parse_args(arguments)
    try:
        formats = parse_formats(asked.format)
        results = read_record(asked.study_folder)
        written = write_formats(results, asked.study_folder, formats)
    except (ValueError, OSError) as error:
        print(f"analysis.report: {error}", file=sys.stderr)
        return 2
    for sentence in written.not_written:
        print(f"analysis.report: {sentence}", file=sys.stderr)
    if asked.json:
        print(json.dumps(summary(results, written), indent=2, ensure_ascii=False))
    else:
        print("\n".join(map(str, written.paths)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
