"""What stands in a study's way is named as it is, with the mend."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from study.halting import halted_by


def full(file: Any, code: int = errno.ENOSPC) -> OSError:
    return OSError(code, os.strerror(code), file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "studies" / "mine"
    path.mkdir(parents=True)
    return path


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_that_is_not_the_study_s_is_named_by_the_file_it_had_no_room_for(
    folder: Path, tmp_path: Path, code: int
) -> None:
    scratch = tmp_path / "scratch" / "part"
    for file in (str(scratch), os.fsencode(scratch), scratch):
        told = str(halted_by(full(file, code), folder))
        assert told.startswith(f"the disk that holds {scratch} is full; nothing is lost: ")
        assert "python -m study resume mine" in told


def test_a_full_disk_is_the_study_s_where_the_file_is_or_where_none_is_named(
    folder: Path, tmp_path: Path
) -> None:
    for file in (None, 7, folder / "journal.log", str(folder.parent / "teachers" / "part")):
        told = str(halted_by(full(file), folder))
        assert told.startswith(f"the disk that holds {folder} is full; nothing is lost: ")


def test_a_part_of_a_study_that_was_put_on_another_disk_is_named_there(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "large").mkdir()
    (folder / "checkpoints").symlink_to(tmp_path / "large")
    told = str(halted_by(full(folder / "checkpoints" / "last.pt"), folder))
    assert told.startswith(f"the disk that holds {tmp_path / 'large' / 'last.pt'} is full")


def test_studies_behind_a_link_are_the_study_s_own(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder.parent)
    linked = tmp_path / "link" / "mine"
    for file in (linked / "journal.log", folder / "journal.log"):
        told = str(halted_by(full(file), linked))
        assert told.startswith(f"the disk that holds {linked} is full")


def test_other_errors_of_files_halt_nothing(folder: Path) -> None:
    assert halted_by(full("/tmp/part", errno.EACCES), folder) is None
