"""A report of a study with replicates: means with errors, gains with intervals, near rivals."""

import io
import math
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from analysis.charts.curves import curves_figure, curves_info
from analysis.charts.front_chart import front_figure, front_info
from analysis.export import results_markdown, to_csv
from analysis.findings import find, time_spent
from analysis.front import dominates
from analysis.record import StudyResults, read_record
from analysis.replication import RIVAL_PROBABILITY
from analysis.report import render
from analysis.results import TrialResult
from analysis.sections.overview import asked
from analysis.table import columns, front_table, published_results, results_table
from analysis.wording import sentences


@pytest.fixture(scope="module")
def html(replicated: StudyResults) -> str:
    return render(replicated)


def runs_of(results: StudyResults, first: int) -> list[TrialResult]:
    return [trial for trial in results.trials if first in (trial.number, trial.replicate_of)]


def rows_of(html: str, identifier: str) -> dict[str, list[str]]:
    """The rows of a table by the trial they begin with, each cell as its words."""
    found = re.search(f'<table id="{identifier}".*?</table>', html, re.DOTALL)
    assert found is not None
    body = found[0][found[0].index("<tbody>") :]
    rows = [
        [
            " ".join(unescape(re.sub("<[^>]+>", " ", cell)).split())
            for cell in re.findall(r"<t[hd].*?</t[hd]>", row)
        ]
        for row in re.findall("<tr>.*?</tr>", body, re.DOTALL)
    ]
    return {row[0].split()[0]: row for row in rows}


def said(results: StudyResults) -> str:
    return " ".join(sentences(results, find(results))).replace("\u00a0", " ")


def test_the_sample_has_what_is_to_be_shown(replicated: StudyResults) -> None:
    assert replicated.replicated
    assert len(replicated.near_rivals) >= 2
    assert all(replicated.validation[member.number].runs == 3 for member in replicated.front)
    assert {pair.validation.runs for pair in replicated.pairs} == {1, 3}


def test_the_same_record_gives_the_same_bytes_in_another_process(
    replicated_folder: Path, tmp_path: Path, html: str
) -> None:
    assert render(read_record(replicated_folder)) == html
    folder = shutil.copytree(replicated_folder, tmp_path / "elsewhere")
    subprocess.run([sys.executable, "-m", "analysis.report", folder], check=True)
    assert (folder / "report" / "index.html").read_text(encoding="utf-8") == html


def test_the_front_is_not_dominated_by_any_mean(replicated: StudyResults) -> None:
    means = {
        trial.number: (replicated.validation[trial.number].mean, trial.latency_ms or 0.0)
        for trial in replicated.configurations
        if trial.number in replicated.validation
    }
    members = {trial.number for trial in replicated.front}
    for number, point in means.items():
        beaten = any(dominates(other, point) for other in means.values())
        assert beaten == (number not in members)


def test_each_row_of_the_front_states_means_errors_probability_and_gain(
    replicated: StudyResults, html: str
) -> None:
    rows = rows_of(html, "front-table")
    assert list(rows) == [trial.name for trial in replicated.front]
    gains = {pair.distilled.number: pair for pair in replicated.pairs}
    for member in replicated.front:
        scores = [trial.val_score for trial in runs_of(replicated, member.number)]
        tests = [trial.test_score for trial in runs_of(replicated, member.number)]
        row = rows[member.name]
        for cell, values in ((row[2], scores), (row[3], tests)):
            mean, error = sum(map(float, values)) / 3, stats.sem(values)
            assert cell == f"{mean:.2f} ± {error:.2f}"
        probability = replicated.probabilities[member.number]
        assert row[4] == "3"
        assert row[5] == ("> 99 %" if probability > 0.99 else f"{100 * probability:.0f} %")
        if member.number in gains:
            control = gains[member.number].control
            paired = stats.ttest_rel(
                scores, [trial.val_score for trial in runs_of(replicated, control.number)]
            ).confidence_interval(0.95)
            low, high = (f"{bound:+.1f}".replace("-", "\u2212") for bound in paired)
            assert row[6] == f"+{gains[member.number].val_gain:.1f} {low} to {high}"


def test_near_rivals_have_a_table_with_their_probability(
    replicated: StudyResults, html: str
) -> None:
    rows = rows_of(html, "rivals-table")
    assert list(rows) == [trial.name for trial in replicated.near_rivals]
    for rival in replicated.near_rivals:
        probability = replicated.probabilities[rival.number]
        assert probability >= RIVAL_PROBABILITY
        assert rows[rival.name][5] == f"{100 * probability:.0f} %"


def test_a_gain_of_one_run_says_so_and_comes_last(html: str) -> None:
    rows = list(rows_of(html, "gains-table").values())
    alone = ["one run" in row[6] for row in rows]
    assert alone == sorted(alone)
    assert 0 < sum(alone) < len(alone)
    assert all((row[5] == "1") == once for row, once in zip(rows, alone, strict=True))


def test_the_first_screen_quotes_gains_with_intervals(replicated: StudyResults) -> None:
    text = said(replicated)
    pair = next(p for p in replicated.pairs if p.distilled is find(replicated).best_trade_off)
    # All runs were scored on the test split.
    assert pair.test is not None
    assert pair.test.interval is not None
    low, high = pair.test.interval
    assert f"gained +{pair.test.mean:.1f} points (95 % interval {low:+.1f} to {high:+.1f})" in text
    assert "changed test accuracy by" in text
    assert "undistilled twins, 3 runs each" in text
    assert "more pairs were run once" in text
    assert "The probability of being on the front is 90 % or more for 6 of the 7" in text
    rival = replicated.near_rivals[0]
    chance = f"{100 * replicated.probabilities[rival.number]:.0f} %"
    assert f"of the students off the front it is largest for {rival.name} ({chance})" in text


def test_the_first_screen_says_where_there_is_one_run_each(realistic: StudyResults) -> None:
    text = said(realistic)
    assert "comparing 4 students with their undistilled twins, one run each." in text
    assert "probability" not in text


def test_one_replicated_pair_is_told_with_its_interval(sample: Any, study: Any) -> None:
    first = sample.trial(sample.params(), accuracy=80.0, ratio=3.0)
    control = sample.trial(sample.params(terms="ce"), accuracy=78.0, ratio=3.0, source="control")
    again = sample.replicate_of(first, 0, 1, start=0.0)
    other = sample.replicate_of(control, 1, 1, start=0.0)
    results = study([first, control, again, other])
    text = said(results)
    gains = [
        2.0,
        again["attributes"]["outcome"]["val_score"] - other["attributes"]["outcome"]["val_score"],
    ]
    low, high = stats.t.interval(0.95, 1, sum(gains) / 2, stats.sem(gains))
    interval = f"{low:+.1f} to {high:+.1f}".replace("-", "\u2212")
    assert f"points (95 % interval {interval}), comparing one student" in text
    assert "2 runs each" in text
    chance = f"{100 * results.probabilities[0]:.0f} %"
    assert f"The probability that t0000 is on the front is {chance}" in text
    assert "of the students off the front it is largest for t0001" in text


def test_replicates_are_no_marks_and_bars_are_intervals(replicated: StudyResults) -> None:
    info = front_info(replicated)
    names = {mark.trial for mark in info.marks}
    assert not names & {t.name for t in replicated.trials if t.replicate_of is not None}
    assert {mark.trial for mark in info.marks if mark.group == "rival"} == {
        trial.name for trial in replicated.near_rivals
    }
    spread = replicated.spread
    assert spread is not None
    quantile = stats.t.ppf(0.975, spread.freedom)
    for mark in info.marks:
        if mark.group == "front":
            error = spread.deviation(mark.val_score) / math.sqrt(3)
            assert mark.bar == pytest.approx(quantile * error)
        elif mark.group != "rival":
            assert mark.bar is None
    means = {trial.name: replicated.val_score(trial) for trial in replicated.configurations}
    assert all(mark.val_score == means[mark.trial] for mark in info.marks)
    assert [y for _, y in info.step] == [means[trial.name] for trial in replicated.front]


def test_bars_are_drawn_and_arrows_end_below_them(replicated: StudyResults) -> None:
    info = front_info(replicated)
    figure = front_figure(info)
    front = next(trace for trace in figure.data if trace.name == "front")
    bars = [mark.bar for mark in info.marks if mark.group == "front"]
    assert list(front.error_y.array) == pytest.approx(bars, rel=1e-4)
    rivals = next(trace for trace in figure.data if trace.name == "near rivals")
    assert rivals.marker.symbol[0] == "diamond"
    assert rivals.marker.color != front.marker.color
    dominated = next(trace for trace in figure.data if trace.name == "dominated")
    assert dominated.error_y.array is None
    shortened = 0
    for note, arrow in zip(figure.layout.annotations, info.arrows, strict=True):
        assert arrow.control[1] < note.y <= arrow.distilled[1] + 1e-3
        shortened += note.y < arrow.distilled[1] - 1e-3
    assert shortened >= 3


def test_no_bar_goes_beyond_the_best_score(sample: Any, study: Any) -> None:
    first = sample.trial(sample.params(), accuracy=99.5, ratio=3.0)
    again = sample.replicate_of(first, 0, 1, start=0.0)
    again["attributes"]["outcome"]["val_score"] = 98.0
    info = front_info(study([first, again]))
    front = next(trace for trace in front_figure(info).data if trace.name == "front")
    assert front.error_y.array[0] == pytest.approx(100 - 98.75)
    assert front.error_y.arrayminus[0] > 1.25


def test_gains_that_are_all_alike_have_no_interval(sample: Any, study: Any) -> None:
    first = sample.trial(sample.params(), accuracy=80.0, ratio=3.0)
    control = sample.trial(sample.params(terms="ce"), accuracy=78.0, ratio=3.0, source="control")
    pair = [
        sample.replicate_of(first, 0, 1, start=0.0),
        sample.replicate_of(control, 1, 1, start=0),
    ]
    for item, score in zip(pair, (81.0, 79.0), strict=True):
        item["attributes"]["outcome"]["val_score"] = score
    results = study([first, control, *pair])
    assert "by +2.0 points (the same in 2 runs, which tells no interval)" in said(results)
    assert rows_of(render(results), "gains-table")["t0000"][6] == "+2.0 in 2 of 2 runs"


def test_a_mark_says_what_its_runs_tell(replicated: StudyResults) -> None:
    info = front_info(replicated)
    member = replicated.front[2]
    mark = next(mark for mark in info.marks if mark.trial == member.name)
    estimate = replicated.validation[member.number]
    hover = mark.hover.replace("\u00a0", " ")
    assert f"validation accuracy {estimate.mean:.2f} ± {estimate.error:.2f} %" in hover
    assert "3 runs: means ± standard error" in hover
    assert "on the front with a probability of &gt; 99 %" in hover
    assert "KD gain +" in hover
    assert "<br>one run<br>" in next(mark.hover for mark in info.marks if mark.trial == "t0003")


def test_curves_of_replicates_are_those_of_their_configuration(replicated: StudyResults) -> None:
    info = curves_info(replicated)
    assert len(info.curves) == sum(bool(trial.curve) for trial in replicated.trials)
    groups = {curve.trial: curve.group for curve in info.curves}
    member = replicated.front[-1]
    for run in runs_of(replicated, member.number):
        assert groups[run.name] == "front"
    further = [curve for curve in info.curves if curve.run]
    assert not info.labelled & {curve.trial for curve in further}
    assert further[0].called == f"{further[0].of}, run 1 ({further[0].trial})"
    traces = [trace for trace in curves_figure(info).data if trace.meta["key"] == "front"]
    assert [trace.name for trace in traces] == ["front, further runs", "front"]
    assert traces[0].line.width < traces[1].line.width


def test_replicates_are_not_counted_as_tried_but_their_time_is(
    replicated: StudyResults, realistic: StudyResults, html: str
) -> None:
    added = [trial for trial in replicated.trials if trial.number >= len(realistic.trials)]
    controls = [trial for trial in added if trial.control_of is not None]
    assert find(replicated).counts["complete"] == 27 + len(controls)
    text = asked(replicated).replace("\u00a0", " ")
    more = f"then {len(controls)} controls and {len(added) - len(controls)} replicates"
    assert f"46 ended, 2 running or interrupted; {more}" in text
    spent = time_spent(replicated)
    assert spent.students == pytest.approx(sum(t.train_seconds for t in replicated.trials))
    assert spent.replicates == pytest.approx(
        sum(t.train_seconds for t in added if t.replicate_of is not None)
    )
    assert "Replicates <b>" in html


def test_every_run_is_listed_with_whose_it_is(replicated: StudyResults, html: str) -> None:
    rows = rows_of(html, "trials-table")
    assert len(rows) == len(replicated.trials)
    again = next(trial for trial in replicated.trials if trial.replicate_of is not None)
    row = rows[again.name]
    assert row[0] == f"{again.name} run {again.run} of t{again.replicate_of:04d}"
    assert (row[2], row[4]) == ("replicate", f"{again.val_score:.2f}")


def test_the_published_table_shows_means(replicated: StudyResults, html: str) -> None:
    row = next(r for r in published_results(replicated) if r.row.label == "Baseline")
    tests = [trial.test_score for trial in runs_of(replicated, 0)]
    assert row.comparisons["score"].measured == pytest.approx(sum(map(float, tests)) / 3)
    assert row.error == pytest.approx(stats.sem(tests))
    assert f"± {row.error:.1f}" in rows_of(html, "published-table")["Baseline"][2]


def test_tables_tell_runs_apart_and_what_they_come_to(replicated: StudyResults) -> None:
    table = results_table(replicated)
    documented = [c.name for c in columns(replicated.plan.space, replicated=True)]
    assert list(table.columns[: len(documented)]) == documented
    back = pd.read_csv(io.StringIO(to_csv(table))).set_index("trial")
    member = replicated.front[1]
    first, run = back.loc[member.name], runs_of(replicated, member.number)[1]
    scores = [trial.val_score for trial in runs_of(replicated, member.number)]
    assert first["val_score"] == scores[0]
    assert first["val_mean"] == pytest.approx(sum(map(float, scores)) / 3)
    assert first["val_error"] == pytest.approx(stats.sem(scores))
    assert (first["runs"], first["run"], first["kd_runs"]) == (3, 0, 3)
    assert first["kd_gain_low"] < first["kd_gain"] < first["kd_gain_high"]
    assert first["front_probability"] == replicated.probabilities[member.number]
    again = back.loc[run.name]
    assert (again["replicate_of"], again["run"]) == (member.name, 1)
    assert again["val_score"] == run.val_score
    assert again[["val_mean", "kd_gain", "front_probability"]].isna().all()
    assert again["on_front"] == False  # noqa: E712
    front = front_table(replicated)
    assert len(front) == len(replicated.front)
    assert {"runs", "val_mean", "front_probability", "kd_gain_low"} <= set(front.columns)


def test_a_replicate_is_as_distilled_as_its_configuration(replicated: StudyResults) -> None:
    table = results_table(replicated).set_index("trial")
    for trial in replicated.trials:
        if trial.replicate_of is not None:
            first = f"t{trial.replicate_of:04d}"
            assert table.loc[trial.name, "distilled"] == table.loc[first, "distilled"]


def test_markdown_has_the_columns_of_runs(replicated: StudyResults) -> None:
    text = results_markdown(replicated)
    assert "| val_mean (%) | val_error (%) |" in text
    assert "`front_probability`: share of bootstrap draws" in text


def test_a_study_without_replicates_knows_none_of_this(realistic: StudyResults) -> None:
    html = render(realistic)
    for word in ("Near rival", "standard error", "rivals-table", "Replicates", "probability"):
        assert word not in html.split('<script type="application/json"')[0]
    assert "replicate_of" not in results_table(realistic).columns
    assert realistic.probabilities == {}
    assert realistic.near_rivals == ()


def test_replicates_that_run_or_failed_change_no_mean(sample: Any, study: Any) -> None:
    first = sample.trial(sample.params(), accuracy=77.0, ratio=3.0)
    failed = sample.trial(
        sample.params(), accuracy=20.0, ratio=3.0, status="failed", done=2, source="replicate",
        reason="loss is not finite",
    )  # fmt: skip
    running = sample.trial(
        sample.params(), accuracy=90.0, ratio=3.0, status=None, done=4, source="replicate"
    )
    for run, item in enumerate((failed, running), start=1):
        item["attributes"]["replicate"] = [0, run]
    results = study([first, failed, running])
    assert not results.replicated
    assert results.val_score(results.trials[0]) == 77.0
    assert [mark.trial for mark in front_info(results).marks] == ["t0000"]
    assert [curve.group for curve in curves_info(results).curves] == ["front", "failed", "running"]
    html = render(results)
    assert "run 1 of t0000" in html
    assert "loss is not finite" in html
    assert "One student was trained to its last epoch" in html


def test_exits_of_replicates_are_no_networks_of_their_own(sample: Any, study: Any) -> None:
    from analysis.sections.exits import networks

    whole = sample.trial(sample.params(), accuracy=80.0, ratio=2.0)
    leave = sample.trial(sample.params(), accuracy=70.0, ratio=4.0, source="exit")
    leave["attributes"] |= {"trained_with": 0, "architecture": "exit 1"}
    again_whole = sample.replicate_of(whole, 0, 1, start=0.0)
    again_leave = sample.replicate_of(leave, 1, 1, start=0.0)
    again_leave["attributes"] |= {"trained_with": 2, "architecture": "exit 1"}
    results = study([whole, leave, again_whole, again_leave])
    (network,) = networks(results)
    assert network.trial.number == 0
    assert {number: e.runs for number, e in results.validation.items()} == {0: 2, 1: 2}
    spent = time_spent(results)
    assert spent.replicates == pytest.approx(results.trials[2].train_seconds)
    assert len(results.front) == 2


def test_further_figures_are_means_over_runs(sample: Any, study: Any) -> None:
    first = sample.trial(sample.params(), accuracy=80.0, ratio=2.0, confirmed=(79.0, 2.0))
    again = sample.replicate_of(first, 0, 1, start=0.0)
    for item, value in ((first, 0.5), (again, 0.6)):
        item["attributes"]["confirmed"]["figures"] = [{"label": "SSIM", "value": value, "unit": ""}]
    rows = rows_of(render(study([first, again])), "further-table")
    assert list(rows) == ["t0000"]
    assert rows["t0000"][4] == "0.550"


def test_a_third_objective_has_means_and_rivals_too(sample: Any, study: Any) -> None:
    plan = sample.plan()
    plan["space"]["objectives"].append(
        {"key": "params_m", "label": "parameters", "unit": "M", "direction": "minimize"}
    )
    large = sample.trial(sample.params((2, 2, 2, 2)), accuracy=80.0, ratio=4.0)
    small = sample.trial(sample.params((1, 0, 0, 0)), accuracy=70.0, ratio=3.0)
    near = sample.trial(sample.params((1, 0, 0, 0), alpha=0.2), accuracy=69.9, ratio=3.0)
    again = sample.replicate_of(large, 0, 1, start=0.0)
    results = study([large, small, near, again], plan_content=plan)
    assert [trial.number for trial in results.front] == [0, 1]
    assert [trial.number for trial in results.near_rivals] == [2]
    assert len(front_info(results).step) == 1
    assert "Near rivals" in render(results)


def words_of(html: str) -> str:
    return " ".join(unescape(re.sub("<[^>]+>", " ", html)).replace("\u00a0", " ").split())


def test_how_much_of_a_gain_may_be_chance_is_told_by_the_deviation_from_run_to_run(
    replicated: StudyResults, html: str
) -> None:
    found = re.search(r"a gain of less than ([\d.]+) points may be chance", words_of(html))
    assert found is not None
    controls = [pair.control.number for pair in find(replicated).pairs]
    mean = sum(replicated.validation[n].mean for n in controls) / len(controls)
    assert replicated.spread is not None
    surely = stats.t.ppf(0.975, replicated.spread.freedom)
    expected = surely * math.sqrt(2) * replicated.spread.deviation(mean)
    assert float(found[1]) == pytest.approx(expected, abs=0.05)


def test_how_much_of_a_gain_of_single_runs_may_be_chance_is_told_by_the_images(
    realistic: StudyResults,
) -> None:
    words = words_of(render(realistic))
    found = re.search(
        r"draw of 5,000 validation images alone may make a gain of up to about ([\d.]+) points",
        words,
    )
    assert found is not None
    pairs = find(realistic).pairs
    both = [trial.number for pair in pairs for trial in (pair.distilled, pair.control)]
    share = sum(realistic.validation[n].mean for n in both) / len(both) / 100
    expected = 196 * math.sqrt(2 * share * (1 - share) / 5_000)
    assert float(found[1]) == pytest.approx(expected, abs=0.05)
    assert "their gains lean upwards" in words
