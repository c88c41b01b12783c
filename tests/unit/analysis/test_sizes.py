"""Bars of parameters and FLOPs: which networks, by what numbers, in what words."""

from html import unescape

import pytest

from analysis.charts.palette import light
from analysis.charts.sizes import MOST_MEMBERS, QUANTITIES, sizes_figure, sizes_info
from analysis.report import render
from analysis.results import DEFAULT_CONTROL_LABEL
from analysis.sections.sizes import sizes_section

# Of the published table and of the front of the sample study, fastest first.
PRESETS = ["t0003", "t0004", "t0005", "t0006", "t0007", "t0008", "t0001", "t0002", "t0000"]


def names(info):
    return [bar.name.split()[0] for bar in info.students]


def sized(item, params_m, flops_m):
    item["attributes"]["model"] = {"params_m": params_m, "flops_m": flops_m, "bytes": 1}
    return item


def words(html):
    return unescape(html).replace("\u00a0", " ")


def test_with_a_preset_the_bars_are_its_rows_below_the_teacher(realistic):
    info = sizes_info(realistic)
    assert info.rows == "published"
    assert "The teacher and the published rows, fastest first." in sizes_section(info)
    assert sorted(names(info)) == sorted(PRESETS)
    by_name = {trial.name: trial for trial in realistic.trials}
    latencies = [by_name[name].latency_ms for name in names(info)]
    assert latencies == sorted(latencies)
    assert info.bars[0] == info.teacher
    assert (info.teacher.params_m, info.teacher.flops_m) == (23.52, 167.4)
    for bar, name in zip(info.students, names(info), strict=True):
        model = by_name[name].model
        assert (bar.params_m, bar.flops_m) == (model.params_m, model.flops_m)
    groups = {bar.name: bar.group for bar in info.students}
    assert groups["t0000 Baseline"] == "front"
    assert groups["t0006 Ideal, no KD loss"] == "control"


def test_without_a_preset_they_are_the_fronts_distilled_architectures(sample, study):
    trials = [
        sample.trial(sample.params((1, 1, 0, 0)), accuracy=70.0, ratio=6.0),
        sample.trial(sample.params((1, 1, 1, 0)), accuracy=72.0, ratio=5.0),
        sample.trial(sample.params((1, 1, 1, 1), terms="ce"), accuracy=74.0, ratio=4.0),
        sample.trial(sample.params((2, 1, 1, 0)), accuracy=60.0, ratio=2.0),
        sample.trial(sample.params((1, 1, 1, 0), learning_rate=0.1), accuracy=72.0, ratio=5.0),
    ]
    info = sizes_info(study(trials, plan_content=sample.plan(preset=None)))
    assert info.rows is None
    assert [bar.name for bar in info.students] == [
        "t0000 [1,1,0,0] stride 2",
        "t0001 [1,1,1,0] stride 2",
    ]


def test_rows_of_a_preset_that_publishes_nothing_are_not_called_published(sample, study):
    distilled, plain = sample.params(), sample.params(terms="ce")
    trials = [
        sample.trial(plain, accuracy=75.0, ratio=4.0, label="Control", source="control"),
        sample.trial(distilled, accuracy=77.0, ratio=4.1, label="Decoupled", source="preset"),
        sample.trial(
            sample.params((2, 1, 1, 1)),
            accuracy=50.0,
            ratio=3.0,
            label="DIST",
            source="preset",
            status="failed",
            done=2,
            reason="lost",
        ),
        sample.trial(
            sample.params((2, 2, 1, 1), terms="ce"),
            accuracy=74.0,
            ratio=2.8,
            label=DEFAULT_CONTROL_LABEL,
            source="control",
        ),
    ]
    plan = sample.plan(published=False, preset="recipes")
    info = sizes_info(study(trials, plan_content=plan))
    assert (info.rows, info.failed) == ("preset", 1)
    assert names(info) == ["t0001", "t0000"]
    text = words(sizes_section(info))
    assert "The teacher and the preset's rows, fastest first, 1 that failed left out." in text
    assert "published" not in text


@pytest.mark.parametrize(
    ("terms", "whose"), [("weighted", "distilled students"), ("ce", "students")]
)
def test_the_students_are_called_distilled_where_they_are(sample, study, terms, whose):
    trials = [sample.trial(sample.params((1, 1, 0, 0), terms=terms), accuracy=70.0, ratio=6.0)]

    html = sizes_section(sizes_info(study(trials, plan_content=sample.plan(preset=None))))

    assert f"The teacher and the front's {whose}, fastest first." in words(html)


def test_of_a_long_front_some_are_shown_and_the_rest_is_counted(sample, study):
    trials = [
        sample.trial(sample.params((n // 3, n % 3, 0, 0), 1), accuracy=90.0 - n, ratio=1.5 + n)
        for n in range(9)
    ] + [
        sample.trial(sample.params((0, 0, n, 1)), accuracy=60.0 - n, ratio=12.0 + n) for n in (1, 2)
    ]
    results = study(trials, plan_content=sample.plan(preset=None))
    info = sizes_info(results)
    assert len(results.front) == 11
    assert len(info.students) == MOST_MEMBERS
    assert info.left_out == 3
    shown = names(info)
    assert (shown[0], shown[-1]) == (results.front[0].name, results.front[-1].name)
    assert "3 between them left out" in sizes_section(info)


def test_a_student_larger_than_its_teacher_and_cheaper_is_said_to_be(sample, study):
    trials = [
        sized(sample.trial(sample.params(), accuracy=77.0, ratio=3.0), 3.03, 6.05),
        sized(sample.trial(sample.params((2, 0, 0, 0)), accuracy=70.0, ratio=4.0), 0.1, 0.2),
    ]
    results = study(
        trials,
        plan_content=sample.plan(preset=None),
        teacher_content=sample.teacher(params_m=0.544, flops_m=12.3),
    )
    text = words(sizes_section(sizes_info(results)))
    assert "18 % to 560 % of the teacher's parameters and 1.6 % to 49 % of its FLOPs" in text
    assert "(1 of them with more parameters and fewer FLOPs than the teacher)" in text
    assert "1 MAC = 2 FLOPs" in text


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_bars_begin_at_zero_carry_their_values_and_keep_to_the_palette(realistic, quantity):
    info = sizes_info(realistic)
    figure = sizes_figure(info, quantity)
    bars = figure.data[0]
    assert list(bars.x) == pytest.approx([bar.value(quantity) for bar in info.bars], rel=1e-5)
    assert list(bars.y) == list(range(len(info.bars)))
    assert figure.layout.xaxis.range[0] == 0
    assert figure.layout.xaxis.range[1] > max(bars.x)
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]  # the teacher on top
    texts = [note.text for note in figure.layout.annotations]
    assert texts[:2] == [
        "teacher ResNet-50 [3,4,6,3]",
        {"params": "23.5 M", "flops": "167 M"}[quantity],
    ]
    assert figure.layout.shapes[0].x0 == info.teacher.value(quantity)
    control = [bar.group for bar in info.bars].index("control")
    assert bars.marker.color[0] == light("teacher")
    assert bars.marker.color[control] == "rgba(0,0,0,0)"
    assert bars.marker.line.color[control] == light("control")


def test_small_networks_are_counted_in_thousands(sample, study):
    trials = [sized(sample.trial(sample.params(), accuracy=77.0, ratio=3.0), 0.0169, 0.034)]
    small = sample.teacher(params_m=0.05, flops_m=0.4)
    info = sizes_info(study(trials, plan_content=sample.plan(preset=None), teacher_content=small))
    figure = sizes_figure(info, "params")
    assert figure.layout.xaxis.title.text == "Parameters, k"
    assert list(figure.data[0].x) == [50.0, 16.9]
    assert sizes_figure(info, "flops").layout.xaxis.title.text == "FLOPs, M"


def test_without_a_student_that_was_built_there_are_no_bars(sample, study):
    failed = sample.trial(sample.params(), status="failed", reason="lost")
    results = study([failed])
    assert sizes_info(results) is None
    assert sizes_section(None) is None
    assert "chart-params" not in render(results)


def test_the_section_says_to_all_readers_what_the_bars_show(realistic):
    html = sizes_section(sizes_info(realistic))
    assert html.count('class="chart panel"') == 2
    assert 'aria-label="Parameters: teacher ResNet-50 [3,4,6,3] 23.5 M, ' in html


@pytest.mark.parametrize("count", [1, 8])
def test_every_bar_has_a_row_of_one_height_that_its_name_fits_in(sample, study, count):
    trials = [
        sample.trial(sample.params((2, 0, n // 3, n % 3)), accuracy=70.0 - n, ratio=4.0 + n)
        for n in range(count)
    ]
    info = sizes_info(study(trials, plan_content=sample.plan(preset=None)))
    layout = sizes_figure(info, "params").layout
    shown = layout.height - layout.margin.t - layout.margin.b
    row = shown / (layout.yaxis.range[0] - layout.yaxis.range[1])
    assert 40 <= row <= 43  # a name stands 16 px above the middle of a bar of a third of a row
    assert f"height:{layout.height}px" in sizes_section(info)


def test_the_legend_names_each_group_once(realistic):
    bars, *entries = sizes_figure(sizes_info(realistic), "params").data
    assert bars.showlegend is False
    assert [entry.name for entry in entries] == [
        "Teacher", "On the front", "Not on the front", "No distillation (hollow)",
    ]  # fmt: skip
    assert all(entry.x == (None,) for entry in entries)


def test_a_long_name_is_cut_above_its_bar_and_whole_where_it_is_pointed_at(sample, study):
    label = "a label that goes on and on and on, for longer than a phone is wide"
    trials = [sample.trial(sample.params(), accuracy=77.0, ratio=3.0, label=label)]
    info = sizes_info(study(trials, plan_content=sample.plan(published=False)))
    figure = sizes_figure(info, "params")
    assert max(len(note.text) for note in figure.layout.annotations) == 52
    assert label in figure.data[0].hovertext[1]
