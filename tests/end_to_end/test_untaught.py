"""A space without a teacher: its default student is what the others are compared with."""

from pathlib import Path

import pytest
from launching import BRIEF, Launched, Launcher

from analysis.record import read_record

pytestmark = pytest.mark.end_to_end

SPACE = str(Path(__file__).with_name("untaught.py"))


@pytest.fixture(scope="module")
def alone(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Launched:
    """A study without a teacher."""
    studies = tmp_path_factory.mktemp("untaught") / "studies"
    plan = (*BRIEF, "--space", SPACE, "--trials", "4", "--name", "alone")
    return launcher.run(*plan, studies=studies)


def test_students_are_compared_with_the_default_student(alone: Launched) -> None:
    assert alone.returncode == 0, alone.stderr
    record = read_record(alone.studies / "alone")
    assert record.teacher is None
    assert record.default_student is not None
    assert record.default_student.name == "64 units"
    assert record.reference is not None
    assert record.reference.latency_ms == record.default_student.latency.latency_ms
    assert record.front
    default = record.trials[0].best_latency
    assert default is not None
    # The default student is as fast as itself, give or take the noise of 2 us a call.
    assert 0.5 < default.ratio_batch_1.median < 2
    assert "default student 64 units" in alone.stdout
    assert "none; latencies are compared with the default student's" in alone.stdout


def test_its_report_names_no_teacher(alone: Launched) -> None:
    page = (alone.studies / "alone" / "report" / "index.html").read_text()
    # Up to the plan, which is shown as it was given, with options nobody used.
    body = page.partition("<body")[2].partition("<script")[0].partition('id="provenance"')[0]

    assert "default student" in body.lower()
    assert "teacher" not in body.lower()


def test_it_goes_on_and_is_compared_as_before(alone: Launched, launcher: Launcher) -> None:
    before = read_record(alone.studies / "alone")
    run = launcher.run(
        *(*BRIEF, "--space", SPACE, "--trials", "6", "--name", "alone"), studies=alone.studies
    )

    assert run.returncode == 0, run.stderr
    after = read_record(alone.studies / "alone")
    assert after.default_student == before.default_student
    assert after.trials[: len(before.trials)] == before.trials
    assert len(after.trials) == 6


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--teacher", "weights.pt"),
        ("--teacher-weights", "imagenet"),
        ("--teacher-epochs", "3"),
        ("--teacher-network", "inception"),
        ("--teacher-size", "75"),
        ("--teacher-outputs", "live"),
    ],
)
def test_options_of_a_teacher_are_refused(
    option: str, value: str, launcher: Launcher, tmp_path: Path
) -> None:
    run = launcher.run("--space", SPACE, option, value, studies=tmp_path / "studies")

    assert run.returncode == 2
    assert run.stderr == (
        f"error: {option} {value}: no teacher teaches in space untaught; leave the option out\n"
    )
    assert not (tmp_path / "studies").exists()
