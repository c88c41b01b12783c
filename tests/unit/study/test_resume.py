"""What `resume` drives: the stored plan, with what was given as it is meant."""

import json
import sys
from pathlib import Path

import pytest

from study.__main__ import main
from study.arguments import parser
from study.plan import StudyPlan
from study.resolving import resolve

NAME = "cifar_blocks-digits"


@pytest.fixture
def driven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[StudyPlan]:
    """The plans that are driven; one is stored, of a study started in another directory."""
    found: list[StudyPlan] = []

    def drive(plan: StudyPlan, *_: object) -> int:
        found.append(plan)
        return 0

    monkeypatch.setattr("study.driving.check", lambda *_: None)
    monkeypatch.setattr("study.driving.drive", drive)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("started", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    asked = ["--space", "cifar_blocks", "--data", "digits", "--data-dir", "own"]
    plan, _ = resolve(parser().parse_args(asked))
    document = {"format": 2, "plan": plan.to_json(), "directory": str(tmp_path / "started")}
    folder = tmp_path / "here" / "studies" / NAME
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(document))
    return found


def test_paths_given_to_resume_begin_where_it_is_called(
    driven: list[StudyPlan], tmp_path: Path
) -> None:
    given = ["--data-dir", "data", "--tracking-uri", "sqlite:///m.db"]

    assert main(["resume", NAME, *given]) == 0

    (plan,) = driven
    here = tmp_path / "here"
    assert (plan.data_dir, plan.tracking_uri) == (str(here / "data"), f"sqlite:///{here}/m.db")
    assert Path.cwd() == tmp_path / "started"


def test_what_is_no_relative_path_is_resumed_as_it_is(driven: list[StudyPlan]) -> None:
    given = ["--data-dir", "/data", "--tracking-uri"]
    assert main(["resume", NAME, *given, "none"]) == 0
    (plan,) = driven
    assert (plan.data_dir, plan.tracking_uri) == ("/data", "none")


def test_a_study_of_a_cluster_comes_back_to_this_machine(
    driven: list[StudyPlan], tmp_path: Path
) -> None:
    path = tmp_path / "here" / "studies" / NAME / "plan.json"
    document = json.loads(path.read_text())
    document["plan"]["address"] = "10.0.0.1:6379"
    path.write_text(json.dumps(document))

    assert main(["resume", NAME, "--studies", str(path.parents[1])]) == 0
    assert main(["resume", NAME, "--studies", str(path.parents[1]), "--address", "local"]) == 0
    assert [plan.address for plan in driven] == ["10.0.0.1:6379", None]


def test_paths_of_the_stored_plan_begin_where_the_study_was_started(
    driven: list[StudyPlan],
) -> None:
    assert main(["resume", NAME]) == 0
    (plan,) = driven
    assert (plan.data_dir, plan.tracking_uri) == ("own", None)
