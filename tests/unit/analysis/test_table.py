import pytest

from analysis.table import (
    FRONT_COLUMNS,
    columns,
    front_table,
    published_results,
    published_table,
    results_table,
)


def test_one_row_a_trial_with_the_documented_columns(realistic):
    table = results_table(realistic)
    documented = [column.name for column in columns(realistic.plan.space)]
    assert list(table.columns[: len(documented)]) == documented
    assert list(table["trial"]) == [f"t{number:04d}" for number in range(48)]
    assert table["on_front"].sum() == 9
    parameters = [name for name in table.columns if name.startswith("param_")]
    assert len(parameters) == 12
    assert len(set(table.columns)) == len(table.columns)


def test_the_column_of_the_front_says_the_rule_of_the_front(realistic):
    (meaning,) = [c.meaning for c in columns(realistic.plan.space) if c.name == "on_front"]
    assert "at least as good in all objectives and better in one" in meaning
    assert "constraints" in meaning
    assert "tied in latency" in meaning


def test_values_of_a_row(realistic, sample):
    row = results_table(realistic).set_index("trial").loc["t0004"]
    assert row["label"] == "[1,1,1,1], stride 2"
    assert row["val_score"] == 77.03
    assert row["test_score"] == 76.43
    assert row["latency_idle"]
    assert row["latency_ms"] == pytest.approx(sample.TEACHER_MS / row["ratio_batch_1"])
    assert row["ratio_batch_64"] == pytest.approx(1.22 * row["ratio_batch_1"])
    assert (row["params_m"], row["bytes"]) == (pytest.approx(11.275), 45_100_000)
    assert (row["kd_control"], row["kd_gain"]) == ("t0006", pytest.approx(2.1))
    assert row["param_learning_rate"] == 0.05


def test_a_trial_that_does_not_say_leaves_its_cells_empty(realistic):
    table = results_table(realistic).set_index("trial")
    infeasible = table[table["status"] == "infeasible"].iloc[0]
    missing = ["val_score", "test_score", "kd_gain", "param_alpha"]
    assert table.loc["t0006", "param_alpha"] != table.loc["t0006", "param_alpha"]  # NaN
    assert infeasible[missing[:3]].isna().all()
    assert infeasible["reason"].startswith("latency 13.1 ms")


def test_the_front_table_lists_the_fastest_first(realistic):
    table = front_table(realistic)
    assert list(table.columns[: len(FRONT_COLUMNS)]) == list(FRONT_COLUMNS)
    assert len(table) == 9
    assert table["latency_ms"].is_monotonic_increasing
    assert table["val_score"].is_monotonic_increasing


def test_tables_of_a_study_without_trials(study):
    results = study([], with_teacher=False)
    assert results_table(results).empty
    assert list(front_table(results).columns[: len(FRONT_COLUMNS)]) == list(FRONT_COLUMNS)


def test_published_figures_stand_beside_test_score(realistic):
    row = published_table(realistic).set_index("label").loc["[1,1,1,1], stride 2"]
    assert row["score_split"] == "test"
    assert (row["score_published"], row["score_measured"]) == (77.6, 76.43)
    assert row["score_difference"] == pytest.approx(-1.17)
    assert row["train_seconds_published"] == 280
    assert row["time_ratio_published"] == 11.6
    ratio = row["time_ratio_measured"]
    assert row["time_ratio_batch_64_measured"] == pytest.approx(1.22 * ratio)


def test_rows_that_are_not_confirmed_or_not_run_say_so(sample, study):
    def trial(label, accuracy, **fate):
        return sample.trial(
            sample.params(), accuracy=accuracy, ratio=3.0, source="preset", label=label, **fate
        )

    results = study(
        [
            trial("Baseline", 77.0),
            trial("[1,1,1,1]", 60.0, status="failed", done=2),
            trial("[2,2,0,0]", 70.0, status="failed", done=2),
            trial("[2,2,0,0]", 78.0),
        ]
    )
    rows = {result.row.label: result for result in published_results(results)}
    assert rows["Baseline"].split == "validation"
    assert rows["Baseline"].comparisons["score"].difference == pytest.approx(77.0 - 79.3)
    failed = rows["[1,1,1,1]"]
    assert (failed.split, failed.trial.status) == (None, "failed")
    assert failed.comparisons["score"].measured is None
    assert failed.comparisons["train_seconds"].measured is None
    assert failed.comparisons["time_ratio"].measured == 3.0
    assert rows["[2,2,0,0]"].trial.name == "t0003"
    assert rows["[1,1,0,0]"].trial is None
    assert rows["[1,1,0,0]"].comparisons["score"].published == 79.4


def test_a_space_without_a_published_table_has_no_rows(sample, study):
    results = study([], plan_content=sample.plan(published=False))
    assert published_results(results) == ()
    assert published_table(results).empty
