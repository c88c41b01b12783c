"""The charts on the search itself: what they show, as numbers."""

import json
from dataclasses import replace

import pytest

from analysis.charts.axes import axis_changes, axis_info
from analysis.charts.curves import curves_figure, curves_info
from analysis.charts.front_chart import front_figure, front_info
from analysis.charts.parallel import parallel_info
from analysis.charts.progress import progress_figure, progress_info
from analysis.charts.recipe import recipes_figure, recipes_info
from analysis.charts.scales import Scale
from analysis.charts.slices import slices_info
from analysis.charts.vector import parallel_svg, slice_svg
from analysis.front import front_hypervolume
from analysis.importance import FEWEST_STUDENTS, importances
from analysis.record import read_record
from analysis.report import render


def test_every_axis_keeps_the_chart_and_moves_its_marks(realistic):
    info = front_info(realistic)
    figure = front_figure(info)
    by_name = {trial.name: trial for trial in realistic.trials}
    wanted = {
        "ratio": lambda trial: trial.best_latency.ratio_batch_1.median,
        "params": lambda trial: trial.model.params_m,
        "flops": lambda trial: trial.model.flops_m,
    }
    for axis, value in wanted.items():
        known = axis_info(info, axis)
        changes = axis_changes(info, known)
        assert len(changes["x"]) == len(figure.data)
        for trace, x in zip(figure.data, changes["x"], strict=True):
            if trace.customdata is None or trace.meta["key"] == "teacher":
                continue
            assert x == [pytest.approx(value(by_name[n]), rel=1e-5) for n in trace.customdata]
        assert known.places["teacher"] == {"ratio": 1.0}.get(axis, known.places["teacher"])
        low, high = (10**bound for bound in changes["xaxis"]["range"])
        assert low < min(known.places.values()) <= max(known.places.values()) < high
    json.dumps(changes)


def test_the_line_over_parameters_is_the_best_score_within_them(realistic):
    info = front_info(realistic)
    step = axis_info(info, "params").step
    trained = [t for t in realistic.configurations if t.status == "complete"]
    for params, score in step:
        within = [t.val_score for t in trained if t.model.params_m <= params]
        assert max(within) == pytest.approx(score)
    assert [s for _, s in step] == sorted(s for _, s in step)
    speed = axis_info(info, "ratio")
    scores = [score for _, score in speed.step]  # more speed, less accuracy
    assert scores == sorted(scores, reverse=True)
    assert axis_changes(info, speed)["step"]["shape"] == "vh"


def test_an_axis_nothing_is_known_on_is_not_offered(sample, study):
    trial = sample.trial(sample.params(), accuracy=77.0, ratio=3.0)
    del trial["attributes"]["model"]
    info = front_info(study([trial]))
    assert axis_info(info, "params") is None
    assert axis_info(info, "ratio").places["t0000"] == pytest.approx(3.0)


def test_the_hypervolume_grows_to_that_of_the_front(realistic):
    info = progress_info(realistic)
    areas = [step.hypervolume for step in info.steps]
    assert areas == sorted(areas)
    assert areas[-1] == pytest.approx(front_hypervolume(realistic.trials, realistic.reference))
    assert info.epochs == sum(trial.epochs_done for trial in realistic.trials)
    assert info.steps[-1].epochs <= info.epochs
    assert [step.epochs for step in info.steps] == sorted(step.epochs for step in info.steps)
    figure = progress_figure(info)
    assert list(figure.data[0].x)[:1] == [0]
    assert list(figure.data[1].customdata) == [step.trial for step in info.steps]


def test_replicates_spend_no_epochs_of_the_search(realistic, replicated):
    assert progress_info(replicated).epochs == progress_info(realistic).epochs
    assert len(replicated.trials) > len(realistic.trials)


def test_without_a_reference_point_there_is_no_growth(study):
    assert progress_info(study([], with_teacher=False)) is None


def known_study(sample, study, count):
    """Students whose accuracy follows their blocks alone; every recipe is noise."""
    trials = []
    for number in range(count):
        blocks = (number % 3, (number // 3) % 3, 1, 1)
        params = sample.params(blocks) | {"learning_rate": 0.005 * 1.05 ** ((number * 37) % 60)}
        accuracy = 60 + 8 * blocks[0] + 0.1 * ((number * 29) % 10)
        trials.append(sample.trial(params, accuracy=accuracy, ratio=4 - blocks[1], seed=number))
    return study(trials)


def test_the_parameter_behind_an_objective_is_the_most_important(sample, study):
    told = importances(known_study(sample, study, 45))
    accuracy, latency = told.objectives
    assert told.students == 45
    assert max(accuracy.shares, key=accuracy.shares.get) == "blocks_1"
    assert max(latency.shares, key=latency.shares.get) == "blocks_2"
    assert sum(accuracy.shares.values()) == pytest.approx(1, abs=1e-3)
    assert accuracy.shares["blocks_1"] > accuracy.chance["blocks_1"]
    assert accuracy.shares["learning_rate"] <= accuracy.chance["learning_rate"]


def test_importances_are_the_same_twice_and_need_enough_students(sample, study, realistic):
    assert importances(realistic) == importances(realistic)
    assert importances(known_study(sample, study, FEWEST_STUDENTS - 1)) is None


def test_undistilled_students_of_the_search_count_and_those_chosen_by_their_twins_do_not(
    sample, study
):
    results = known_study(sample, study, FEWEST_STUDENTS)
    drawn = replace(results.trials[-1], source="control")
    for last, counted in (
        (drawn, True),
        (replace(drawn, label="default, no KD loss"), False),
        (replace(drawn, control_of=3), False),
    ):
        told = importances(replace(results, trials=(*results.trials[:-1], last)))
        assert (told is not None) is counted


def test_a_parameter_that_applies_to_some_has_an_importance(realistic):
    told = importances(realistic)
    assert {"temperature", "alpha"} <= set(told.parameters)
    assert all(0 <= share <= 1 for each in told.objectives for share in each.shares.values())


def test_slices_place_every_trained_student(realistic):
    info = slices_info(realistic, ("temperature",))
    trained = [t for t in realistic.configurations if t.status == "complete"]
    assert info.slices[0].scale.name == "temperature"
    for each in info.slices:
        assert len(each.points) + each.without == len(trained)
        assert all(0 <= p.across <= 1 and 0 <= p.up <= 1 for p in each.points)
    scores = {t.name: t.val_score for t in trained}
    heights = [(p.up, scores[p.trial]) for p in info.slices[0].points]
    assert [s for _, s in sorted(heights)] == sorted(s for _, s in heights)
    drawn = slice_svg(info.slices[0], info.score, "a <label>")
    assert 'aria-label="a &lt;label&gt;"' in drawn
    fronts = sum(p.group == "front" for p in info.slices[0].points)
    assert drawn.count('class="front"') == fronts


@pytest.mark.parametrize(("count", "by_importance"), [(-1, False), (0, True)])
def test_slices_are_said_to_be_in_order_of_importance_only_where_that_is_known(
    count, by_importance, sample, study
):
    page = render(known_study(sample, study, FEWEST_STUDENTS + count))
    assert "of every fully trained student over one parameter" in page
    assert ("the most important first" in page) is by_importance


def test_parallel_lines_end_at_score_and_latency(realistic):
    info = parallel_info(realistic)
    assert [axis.name for axis in info.axes[-2:]] == ["accuracy, %", "latency, ms"]
    by_name = {line.trial: line for line in info.lines}
    best = max(realistic.front, key=lambda t: t.val_score)
    assert by_name[best.name].places[-2] == max(line.places[-2] for line in info.lines)
    fastest = realistic.front[0]
    assert by_name[fastest.name].places[-1] == min(line.places[-1] for line in info.lines)
    names = [axis.name for axis in info.axes]
    plain = next(t for t in realistic.front if "temperature" not in t.params)
    assert by_name[plain.name].places[names.index("temperature")] is None
    drawn = parallel_svg(info, "lines")
    assert drawn.count("data-trial=") == sum(line.group != "dominated" for line in info.lines)


def test_the_map_holds_the_students_with_both_parameters(realistic):
    info = recipes_info(realistic)
    both = [
        t for t in realistic.configurations
        if t.status == "complete" and {"temperature", "alpha"} <= set(t.params)
    ]  # fmt: skip
    assert {each.trial for each in info.recipes} == {t.name for t in both}
    scores = [each.val_score for each in info.recipes]
    assert scores == sorted(scores)
    marker = recipes_figure(info).data[0].marker
    assert list(marker.color) == [pytest.approx(score, rel=1e-5) for score in scores]
    rims = [symbol == "circle" for symbol in marker.symbol]
    assert rims == [each.on_front for each in info.recipes]


def test_a_study_of_one_recipe_has_no_map(sample, study):
    assert recipes_info(study([sample.trial(sample.params(), accuracy=77.0, ratio=3.0)])) is None


def test_rungs_say_how_many_they_stopped(realistic):
    info = curves_info(realistic)
    assert info.rungs == ((1, 2), (3, 8), (9, 2))
    figure = curves_figure(info)
    lines = [shape.x0 for shape in figure.layout.shapes if shape.x0 == shape.x1]
    assert lines == [1, 3, 9]


def test_who_waits_at_a_rung_is_not_said_to_be_stopped(sample, study, realistic):
    values = sample.params()
    stopped = sample.trial(values, accuracy=70.0, ratio=3.0, status="stopped", done=3, rung=3)
    waiting = sample.trial(values, accuracy=72.0, ratio=3.0, status=None, done=3)
    longer = sample.trial(values, accuracy=74.0, ratio=3.0, status=None, done=9)
    for item in (waiting, longer):
        item["attributes"]["waits"] = len([key for key in item["attributes"] if "epoch:" in key])
    results = study([stopped, waiting, longer])
    info = curves_info(results)
    assert (info.rungs, info.waiting) == (((3, 1),), ((3, 1), (9, 1)))
    notes = [note.text for note in curves_figure(info).layout.annotations]
    assert [text for text in notes if "out" in text or "waiting" in text] == [
        "1 out, 1 waiting", "1 waiting",
    ]  # fmt: skip
    page = render(results).replace("\u00a0", " ")
    assert "after epoch 3: 1 trial in all, each where its curve ends in a cross." in page
    assert "after epochs 3 and 9: 2 trials, each where its curve ends in a triangle." in page
    assert "ends in a triangle" not in render(realistic)
    only = render(replace(results, trials=results.trials[1:]))
    assert "Dashed lines are the rungs where trials wait to be gone on with" in only
    assert "ends in a cross" not in only


def test_only_lines_that_tell_whose_they_are_are_said_to(realistic):
    info = parallel_info(realistic)
    drawn = parallel_svg(info, "label")
    named = sum(line.group != "dominated" for line in info.lines)
    assert drawn.count("data-trial") == named < len(info.lines)
    assert "Point at a line of the front or of a control" in render(realistic)


@pytest.mark.parametrize(
    ("scale", "value", "place"),
    [
        (Scale.of_choices("a", ("x", "y")), "y", 0.75),
        (Scale.of_choices("a", ("x", "y")), "z", None),
        (Scale.of_numbers("a", [0.0, 10.0]), 5.0, 0.5),
        (Scale.of_numbers("a", [1.0, 100.0], log=True), 10.0, 0.5),
        (Scale.of_numbers("a", [1.0, 100.0], log=True), 0.0, None),
        (Scale.of_numbers("a", [3.0, 3.0]), 3.0, 0.5),
        (Scale.of_numbers("a", [1.0, 2.0]), None, None),
    ],
)
def test_scales_place_values(scale, value, place):
    assert scale.share(value) == (None if place is None else pytest.approx(place))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (56.3, 82.1), (0.001, 0.0013), (0, 1e6)])
def test_scales_have_a_few_round_ticks(low, high):
    ticks = Scale.of_numbers("a", [low, high]).ticks()
    assert 3 <= len(ticks) <= 6
    assert all(0 <= place <= 1 for place, _ in ticks)


def test_a_thousand_students_make_small_drawings(sample, tmp_path):
    results = read_record(sample.large(tmp_path / "large", 1000))
    slices = slices_info(results)
    sizes = [len(slice_svg(each, slices.score, "")) for each in slices.slices]
    assert sum(sizes) < 300_000
    assert len(parallel_svg(parallel_info(results), "")) < 150_000
