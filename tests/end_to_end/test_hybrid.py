"""Hybrid distillation from the command line."""

from pathlib import Path

import pytest
from launching import BRIEF, Launcher

WRONG = """\
from dataclasses import replace
from search_spaces import cifar_hybrid

def build_student(params, num_classes, shape):
    return cifar_hybrid.build_student(params, num_classes, shape)

SPACE = replace(
    cifar_hybrid.SPACE, name="wrong", presets={}, published={}, build_student=build_student,
    parameters=tuple(
        replace(p, choices=("layer4", "layer3+layer5")) if p.name == "taps" else p
        for p in cifar_hybrid.SPACE.parameters
    ),
)
"""


@pytest.mark.end_to_end
def test_a_tap_that_is_not_there_is_refused_before_anything_is_written(
    tmp_path: Path, launcher: Launcher
) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)

    run = launcher.run("--space", "wrong.py", "--data", "digits", studies=tmp_path / "studies")

    assert run.returncode == 2
    (line,) = run.stderr.strip().splitlines()
    assert line.startswith("error: space wrong on digits: the teacher ResNet-26 [2,2,2,2] has no ")
    assert "'layer5' to tap; did you mean layer4" in line
    assert not run.studies.exists()


@pytest.mark.end_to_end
def test_a_hybrid_study_runs_to_its_end(tmp_path: Path, launcher: Launcher) -> None:
    run = launcher.run(
        *BRIEF,
        *("--space", "cifar_hybrid", "--data", "digits", "--fix", "width=16", "--views", "1"),
        *("--trials", "3", "--max-epochs", "1", "--teacher-epochs", "1", "--preset", "paper"),
        *("--tracking-uri", "none", "--json"),
        studies=tmp_path / "studies",
    )

    assert run.returncode == 0, run.stderr
    assert run.result["counts"]["complete"] == 3
    report = (run.studies / "cifar_hybrid-digits" / "report" / "index.html").read_text()
    assert "ResNet-18 distilled, tuned" in report
    assert "Krishnasamy Karthikeyan" in report
