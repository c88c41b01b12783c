"""What a warm start tells of the other study: how it differs, as far as its source knows."""

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from analysis.report import write_report
from search_spaces.cifar_blocks import SPACE
from search_spaces.parameters import parameter_json
from study.arguments import parser
from study.resolving import resolve
from study.warm_start import Earlier, earlier_for

SAMPLE = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "analysis" / "sample_record.py"))
)
# That of the space for digits.
TEACHER = {"name": "ResNet-26 [2,2,2,2]", "epochs": 30}
ALIKE = ("--max-epochs", "30", "--teacher-epochs", "30")
UNKNOWN = "a table has no curves, and does not tell whether data, score, teacher and the values"


def handed_over(studies: Path, *arguments: str, source: str = "other") -> Earlier:
    line = ["--space", "cifar_blocks", "--data", "digits", "--name", "mine", *arguments]
    plan, space = resolve(parser().parse_args([*line, "--warm-start", source]))
    found = earlier_for(plan, space, studies)
    assert found is not None
    return found


def params(rate: float = 0.01) -> dict[str, Any]:
    return SAMPLE.params((1, 1, 1, 0), learning_rate=rate)


def trials() -> list[dict[str, Any]]:
    """Two that are whole, one stopped, one below the least accuracy, one refused untrained."""
    return [
        SAMPLE.trial(params(0.01), accuracy=60.0, ratio=3.0),
        SAMPLE.trial(params(0.02), accuracy=61.0, ratio=3.0),
        SAMPLE.trial(params(0.03), accuracy=40.0, ratio=3.0, status="stopped", done=3, rung=3),
        SAMPLE.trial(
            params(0.04), accuracy=55.0, ratio=3.0, status="infeasible", done=30, reason="55 < 60"
        ),
        SAMPLE.trial(params(0.05), ratio=1.0, status="infeasible", reason="too slow"),
    ]


def write(
    studies: Path,
    *,
    asked: dict[str, Any] | None = None,
    teacher: dict[str, Any] | None = None,
    **parameters: dict[str, Any],
) -> Path:
    """Write the other study, of the same space and teacher but for what is given; its table."""
    content = SAMPLE.plan("other", **(asked or {}))
    declared = [parameter_json(each) for each in SPACE.parameters]
    content["space"]["parameters"] = [
        {**each, **parameters.pop(each["name"], {})} for each in declared
    ]
    assert not parameters
    SAMPLE.write_record(
        studies / "other",
        trials(),
        plan_content=content,
        teacher_content=SAMPLE.teacher(**TEACHER, **(teacher or {})),
    )
    return studies / "other"


def table_of(study: Path) -> str:
    write_report(study)
    return str(study / "report" / "results.csv")


def test_of_a_study_like_this_one_there_is_nothing_to_tell(tmp_path: Path) -> None:
    write(tmp_path)

    found = handed_over(tmp_path, *ALIKE)
    found = found.on(found.data or "", SAMPLE.teacher()["key"])

    assert found.lines == ("4 of 4 trials of study other",)
    assert found.alike


def test_those_below_the_least_score_are_taken_over_from_a_table_too(tmp_path: Path) -> None:
    table = table_of(write(tmp_path))

    from_record, from_table = (handed_over(tmp_path, source=each) for each in ("other", table))

    for found in (from_record, from_table):
        assert [round(trial.score) for trial in found.trials] == [60, 61, 19, 55]
        assert [trial.scores[-1].epoch for trial in found.trials] == [30, 30, 3, 30]


def test_a_table_tells_other_epochs_as_the_study_does(tmp_path: Path) -> None:
    table = table_of(write(tmp_path))
    told = "its students trained 30 epochs, here 6"

    for source in ("other", table):
        assert told in handed_over(tmp_path, "--max-epochs", "6", source=source).lines
        alike = handed_over(tmp_path, *ALIKE, source=source).lines
        assert not any(line.startswith("its students trained") for line in alike)


def test_tables_of_several_lengths_tell_from_where_to_where(tmp_path: Path) -> None:
    table = tmp_path / "both.csv"
    rows = [f"complete,{score},1,{epochs},{epochs},32" for score, epochs in ((60, 20), (61, 40))]
    rows.append("complete,62,1,30,30,32")
    head = "status,val_score,latency_ms,epochs,epochs_done,param_width"
    table.write_text("\n".join([head, *rows]))

    found = handed_over(tmp_path, *ALIKE, source=str(table))

    assert "its students trained 20 to 40 epochs, here 30" in found.lines


def test_scores_of_a_table_that_cannot_be_had_here_are_told(tmp_path: Path) -> None:
    table = tmp_path / "other.csv"
    head = "status,val_score,latency_ms,epochs,epochs_done,param_width"
    table.write_text(f"{head}\ncomplete,132.5,1,30,30,32\n")

    found = handed_over(tmp_path, *ALIKE, source=str(table))

    assert "its scores go up to 132.5, here accuracy ends at 100.0\u00a0%" in found.lines


def test_what_a_table_does_not_know_is_said_and_a_study_knows(tmp_path: Path) -> None:
    table = table_of(write(tmp_path))

    from_record, from_table = (
        handed_over(tmp_path, *ALIKE, source=each) for each in ("other", table)
    )

    assert from_table.lines[-1].startswith(UNKNOWN)
    assert not from_table.alike
    assert not any(line.startswith("a table") for line in from_record.lines)


@pytest.mark.parametrize(
    ("there", "here", "line"),
    [
        (
            {"learning_rate": {"low": 0.01, "high": 0.1}},
            (),
            "learning_rate was 0.01 to 0.1, here 0.005 to 0.2",
        ),
        (
            {"width": {"choices": [16, 32, 48]}},
            (),
            "width was one of 16, 32, 48, here one of 16, 32, 64",
        ),
        ({}, ("--fix", "blocks_1=1"), "blocks_1 was 1 to 2, here held at 1"),
        ({"stem_stride": {"searched": False, "default": 2}}, (), "stem_stride was held at 2, here"),
        (
            {"alpha": {"when": {"parameter": "terms", "values": ["weighted", "ce"]}}},
            (),
            "alpha was 0.1 to 0.95 with terms weighted or ce, here 0.1 to 0.95 with terms weighted",
        ),
    ],
)
def test_other_values_to_choose_from_are_told_with_both(
    tmp_path: Path, there: dict[str, Any], here: tuple[str, ...], line: str
) -> None:
    write(tmp_path, **there)

    found = handed_over(tmp_path, *ALIKE, *here)

    [told] = [each for each in found.lines if " was " in each]
    assert told.startswith(line)
    assert found.alike


def test_parameters_held_in_a_plan_of_an_earlier_version_were_held(tmp_path: Path) -> None:
    write(tmp_path, asked={"fixed": {"stem_stride": 2}})

    [told] = [line for line in handed_over(tmp_path, *ALIKE).lines if " was " in line]

    assert told.startswith("stem_stride was held at 2, here one of 1, 2")


def test_values_in_another_order_are_no_others(tmp_path: Path) -> None:
    write(tmp_path, width={"choices": [64, 32, 16]})

    assert len(handed_over(tmp_path, *ALIKE).lines) == 1


def test_of_many_parameters_the_first_are_told_with_their_values_and_the_others_by_name(
    tmp_path: Path,
) -> None:
    names = [f"blocks_{stage}" for stage in (1, 2, 3, 4)]
    write(tmp_path, **{name: {"high": 9} for name in names})

    lines = handed_over(tmp_path, *ALIKE).lines

    assert [line.partition(" ")[0] for line in lines if " was " in line] == names[:3]
    assert lines[-1] == "other values there, too: blocks_4"


@pytest.mark.parametrize(
    ("asked", "here", "line"),
    [
        (
            {},
            ("--teacher-epochs", "1"),
            "its teacher was ResNet-26 [2,2,2,2] (30 epochs, seed 0), "
            "here ResNet-26 [2,2,2,2] (1 epoch, seed 0)",
        ),
        (
            {"seed": 7},
            (),
            "its teacher was ResNet-26 [2,2,2,2] (30 epochs, seed 7), "
            "here ResNet-26 [2,2,2,2] (30 epochs, seed 0)",
        ),
        (
            {"teacher": "theirs.pt"},
            (),
            "its teacher was theirs.pt, here ResNet-26 [2,2,2,2] (30 epochs, seed 0)",
        ),
    ],
)
def test_another_teacher_is_told_and_scores_are_compared_all_the_same(
    tmp_path: Path, asked: dict[str, Any], here: tuple[str, ...], line: str
) -> None:
    write(tmp_path, asked=asked)

    found = handed_over(tmp_path, *ALIKE, *here)

    assert found.lines[1:] == (line,)
    assert found.alike
    # It is told once.
    assert found.on(found.data or "", "another").lines == found.lines


def test_a_teacher_that_only_its_key_tells_apart_is_told_once_it_is_known(tmp_path: Path) -> None:
    write(tmp_path)
    found = handed_over(tmp_path, *ALIKE)

    other = found.on(found.data or "", "another")

    assert other.lines[len(found.lines) :] == ("its teacher is another than the one here",)
    assert other.alike
    assert other.on(found.data or "", "another") == other


def test_two_teachers_by_checkpoint_are_told_apart_by_their_weights(tmp_path: Path) -> None:
    write(tmp_path, asked={"teacher": "theirs.pt"})
    mine = tmp_path / "mine.pt"
    mine.write_bytes(b"")
    line = ["--space", "cifar_blocks", "--data", "digits", "--max-epochs", "30"]
    plan, space = resolve(
        parser().parse_args([*line, "--teacher", str(mine), "--warm-start", "other"])
    )

    found = earlier_for(plan, space, tmp_path)

    assert found is not None
    assert len(found.lines) == 1
    same = found.on(found.data or "", SAMPLE.teacher()["key"])
    assert same.lines == found.lines
    assert len(found.on(found.data or "", "another").lines) == 2


def test_that_nobody_taught_there_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path)
    path = folder / "plan.json"
    path.write_text(path.read_text().replace('"taught": true', '"taught": false'))

    assert handed_over(tmp_path, *ALIKE).lines[1:] == ("it had no teacher",)
