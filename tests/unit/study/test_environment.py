"""What a study ran on."""

import shutil
import subprocess
from pathlib import Path

import pytest

from study import environment

GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the package's place."""
    (tmp_path / "study").mkdir()
    module = tmp_path / "study" / "environment.py"
    module.write_text("")
    monkeypatch.setattr(environment, "__file__", str(module))
    return tmp_path


@pytest.mark.skipif(shutil.which("git") is None, reason="git tells the commit")
def test_the_commit_is_told_and_whether_files_were_changed(checkout: Path) -> None:
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        subprocess.run([*GIT, str(checkout), *command], check=True)
    commit = environment.describe_environment()["commit"]
    assert len(commit) == 12
    assert int(commit, 16) > 0
    (checkout / "study" / "environment.py").write_text("changed")
    assert environment.describe_environment()["commit"] == f"{commit}, changed"


def test_installed_code_has_no_commit(checkout: Path) -> None:
    assert environment.describe_environment()["commit"] is None
