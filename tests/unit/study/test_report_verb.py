"""`python -m study report` where the report, or the record, is in the way."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from study.__main__ import main

SAMPLE = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "analysis" / "sample_record.py"))
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    trials = [SAMPLE.trial(SAMPLE.params(), accuracy=70.0, ratio=3.0)]
    written: Path = SAMPLE.write_record(
        tmp_path / "mine", trials, plan_content=SAMPLE.plan("mine", trials=1)
    )
    return written


def report(folder: Path) -> int:
    return main(["report", folder.name, "--studies", str(folder.parent)])


def test_a_report_that_cannot_be_written_is_one_line_with_its_folder(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder / "report"
    place.write_text("a file")
    assert report(folder) == 2
    assert capsys.readouterr().err == (
        f"error: {place} cannot be written (File exists); move {place} away\n"
    )
    place.unlink()

    def refuse(path: Path, content: bytes) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert report(folder) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"error: {place} cannot be written (index.html: Permission denied); "
        f"make it and {folder} writable\n"
    )


def test_a_good_report_is_not_overwritten_where_the_journal_is_missing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(folder) == 0
    before = (folder / "report" / "index.html").read_bytes()
    (folder / "journal.log").unlink()
    capsys.readouterr()
    assert report(folder) == 2
    assert capsys.readouterr().err == (
        f"error: {folder / 'journal.log'} is missing though the study has students; "
        f"restore it from a copy, or give the study up: python -m study delete {folder.name}\n"
    )
    assert (folder / "report" / "index.html").read_bytes() == before
