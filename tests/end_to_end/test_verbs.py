"""`python -m study` and `python -m analysis.report` on a finished study."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from launching import Launched

pytestmark = pytest.mark.end_to_end
REPOSITORY = Path(__file__).parents[2]


def module(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_list_names_the_study_its_state_and_its_best(finished: Launched) -> None:
    shown = module("study", "list", "--studies", str(finished.studies))
    listed = json.loads(
        module("study", "list", "--studies", str(finished.studies), "--json").stdout
    )

    (state,) = listed["studies"]
    best = max(member["val_score"] for member in finished.result["front"])
    assert state["name"] == "small"
    assert state["state"] == "finished"
    assert (state["trials"], state["planned"]) == (6, 6)
    assert state["best_val_score"] == best
    assert f"{best:.2f}\u00a0%" in shown.stdout


def test_a_damaged_study_is_listed_as_such_beside_the_others(
    finished: Launched, tmp_path: Path
) -> None:
    shutil.copytree(finished.studies / "small", tmp_path / "small")
    shutil.copytree(finished.studies / "small", tmp_path / "torn")
    (tmp_path / "torn" / "plan.json").write_text('{"format": 1')

    run = module("study", "list", "--studies", str(tmp_path), "--json")

    states = {study["name"]: study["state"] for study in json.loads(run.stdout)["studies"]}
    assert states == {"small": "finished", "torn": "damaged"}


def test_status_shows_counts_and_front_as_the_launch_did(finished: Launched) -> None:
    where = ("--studies", str(finished.studies))
    shown = module("study", "status", "small", *where)
    body = json.loads(module("study", "status", "small", *where, "--json").stdout)

    assert body["counts"] == finished.result["counts"]
    assert body["front"] == finished.result["front"]
    assert body["counts"]["waiting"] == 0
    assert body["state"] == "finished"
    assert body["running"] == []
    assert "6 of 6 trials" in shown.stdout


def test_status_tells_what_a_study_took(finished: Launched) -> None:
    where = ("--studies", str(finished.studies))
    shown = module("study", "status", "small", *where)
    body = json.loads(module("study", "status", "small", *where, "--json").stdout)

    folder = finished.studies / "small"
    disk = body["disk_bytes"]
    students = sum(path.stat().st_size for path in folder.rglob("student.pt"))
    assert disk["checkpoints"] == students > 0
    assert disk["report"] > (folder / "report" / "index.html").stat().st_size
    assert disk["teachers"] > 0
    assert disk["models"] == sum(path.stat().st_size for path in folder.glob("models/*.pt2")) > 0
    parts = ("checkpoints", "models", "record", "report", "illustrations", "logs")
    own = sum(disk[part] for part in parts)
    assert own <= disk["total"] < own + 10_000
    assert body["device_seconds"] > 0
    assert body["seconds"] > max(member["train_seconds"] for member in body["front"])
    assert body["retries"] == 0
    assert "on disk" in shown.stdout


def test_a_study_that_is_not_there_is_refused_with_the_nearest_name(finished: Launched) -> None:
    for verb in ("status", "report"):
        run = module("study", verb, "smal", "--studies", str(finished.studies))
        assert run.returncode == 2
        assert run.stderr.strip().endswith("did you mean small?")
        assert len(run.stderr.strip().splitlines()) == 1


def test_spaces_are_listed_and_shown_whole() -> None:
    assert "cifar_blocks" in module("study", "spaces").stdout
    one = module("study", "spaces", "cifar_blocks").stdout
    assert "├ temperature" in one
    assert "└ alpha" in one
    assert "Ideal, reduced, no KD loss" in one
    unknown = module("study", "spaces", "cifar_block")
    assert unknown.returncode == 2
    assert "did you mean cifar_blocks?" in unknown.stderr


def test_the_report_is_made_again_byte_for_byte_without_torch_or_ray(
    finished: Launched, tmp_path: Path
) -> None:
    copied = tmp_path / "small"
    shutil.copytree(finished.studies / "small", copied)
    before = (copied / "report" / "index.html").read_bytes()
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from analysis.report import write_report\n"
        f"write_report(Path({str(copied)!r}))\n"
        "sys.exit(str({'torch', 'ray', 'mlflow'} & set(sys.modules) or 0))\n"
    )
    (copied / "report" / "index.html").unlink()

    run = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )

    assert run.stderr.strip() in ("", "0")
    assert (copied / "report" / "index.html").read_bytes() == before


def test_no_color_is_respected(finished: Launched) -> None:
    run = module(
        "study",
        "status",
        "small",
        "--studies",
        str(finished.studies),
        env={"NO_COLOR": "1", "FORCE_COLOR": ""},
    )

    assert "\x1b[" not in run.stdout
