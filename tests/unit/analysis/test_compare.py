"""Studies beside each other, as numbers; nothing is mixed silently."""

import json
import re
import shutil
from dataclasses import replace
from importlib.resources import files

import pytest

from analysis.charts.fronts import SYMBOLS, fronts_figure, look
from analysis.compare import main, summary
from analysis.comparison import NotComparableError, compare
from analysis.front import front_hypervolume
from analysis.latency import TieTest, TieTests
from analysis.record import read_record
from analysis.report import render
from analysis.results import DefaultStudent
from analysis.sections.compared import compared_page

EVIL = """</script><img src=x onerror=alert(1)>"'&"""


def test_one_reference_point_is_shared(realistic, replicated):
    told = compare([realistic, replicated])
    assert told.reference == realistic.reference
    assert not told.relative
    assert told.warnings == ()
    areas = [study.hypervolume for study in told.studies]
    assert areas == [
        pytest.approx(front_hypervolume(each.trials, each.reference))
        for each in (realistic, replicated)
    ]
    assert [study.label for study in told.studies] == ["pareto-demo (1)", "pareto-demo (2)"]


def test_a_larger_corner_is_used_for_all(realistic):
    slower = replace(realistic.reference, latency_ms=2 * realistic.reference.latency_ms)
    told = compare([realistic, replace(realistic, reference=slower)])
    assert told.reference == slower
    one, other = (study.hypervolume for study in told.studies)
    assert one == pytest.approx(other)
    assert one > told.studies[0].own_hypervolume


def test_members_beaten_by_another_study_are_not_on_the_joint_front(sample, study, realistic):
    best = study([sample.trial(sample.params(), accuracy=90.0, ratio=2.2)])
    told = compare([realistic, best])
    (winner,) = told.studies[1].members
    assert winner.joint
    for member in told.studies[0].members:
        assert member.joint == (member.across < winner.across or member.val_score > 90.0)
    assert [m.across for m in told.members] == sorted(m.across for m in told.members)


def test_a_member_that_its_own_study_beats_in_score_and_latency_blames_no_other(
    sample, study, realistic
):
    plan = sample.plan()
    plan["space"]["objectives"].append(
        {"key": "params_m", "label": "parameters", "unit": "M", "direction": "minimize"}
    )
    large, small = sample.params((2, 2, 2, 2)), sample.params((1, 0, 0, 0))
    trials = [
        sample.trial(large, accuracy=99.0, ratio=20.0),
        sample.trial(small, accuracy=98.0, ratio=19.0),
    ]
    told = compare([study(trials, plan_content=plan), realistic])
    assert [member.joint for member in told.studies[0].members] == [True, False]
    marks = fronts_figure(told).data[1]
    assert "not on the joint front" in marks.hovertext[1]
    page = compared_page(told)
    assert "another study" not in page
    assert "a hollow one is not; stars are the teachers." in page


def without_teacher(results):
    """The same as a study without a teacher has it."""
    teacher = results.teacher
    student = DefaultStudent("[1,1,1,1]", teacher.params_m, teacher.flops_m, teacher.latency)
    space = replace(results.plan.space, taught=False)
    return replace(
        results, teacher=None, default_student=student, plan=replace(results.plan, space=space)
    )


def test_studies_without_a_teacher_have_no_word_of_one(realistic):
    first = without_teacher(realistic)
    elsewhere = replace(first.default_student.latency, device="NVIDIA H100")
    second = replace(first, default_student=replace(first.default_student, latency=elsewhere))
    for told in (compare([first, first]), compare([first, second])):
        body = compared_page(told).partition("<body>")[2].partition("<script")[0]
        assert "teacher" not in re.sub("<[^>]+>", " ", body).lower()
        assert "stars" not in body
    assert "of its default student" in body
    with pytest.raises(NotComparableError, match="its default student was not timed"):
        compare([first, replace(first, reference=None)])


def test_the_key_has_the_colour_of_each_chart_beyond_the_sixth_study_too(realistic):
    told = compare([realistic] * 8)
    buttons = re.findall(r'class="key (\S+)" data-chart="fronts" data-group="(\S+)"',
                         compared_page(told))  # fmt: skip
    assert buttons == [(look(i)[0], f"study-{i + 1}") for i in range(8)]
    known = set(re.findall(r"\.key\.(study-\d+) ", files("analysis").joinpath(
        "assets", "report.css").read_text()))  # fmt: skip
    assert {name for name, _ in buttons} <= known


def timed(results, **differently):
    timed = replace(results.teacher.latency, **differently)
    return replace(results, teacher=replace(results.teacher, latency=timed))


def test_latencies_of_different_devices_are_told_as_shares(realistic):
    told = compare([realistic, timed(realistic, device="NVIDIA H100")])
    assert told.relative
    assert told.reference.latency_ms == 1.0
    assert any("NVIDIA H100" in warning for warning in told.warnings)
    for member in told.members:
        assert member.across == pytest.approx(1 / member.ratio)
    assert "Latency over the teacher" in compared_page(told)


@pytest.mark.parametrize(
    ("differently", "words"),
    [
        ({"runtime": "onnx"}, "in ONNX Runtime"),
        ({"folded": True}, "batch norms folded"),
        ({"clock": "cpu"}, "by the thread's own processor time"),
        ({"threads": 8}, "8\u00a0threads"),
    ],
)
def test_latencies_taken_in_another_way_are_told_as_shares(realistic, differently, words):
    told = compare([realistic, timed(realistic, **differently)])
    assert told.relative
    (warning,) = told.warnings
    assert words in warning.partition("pareto-demo (2): ")[2]
    assert words not in warning.partition("pareto-demo (2): ")[0]


def test_a_front_of_another_runtime_than_the_other_is_said(realistic):
    in_onnx = replace(
        realistic,
        trials=tuple(
            replace(
                trial,
                latency=trial.latency and replace(trial.latency, runtime="onnx"),
                confirmed=trial.confirmed
                and replace(
                    trial.confirmed, latency=replace(trial.confirmed.latency, runtime="onnx")
                ),
            )
            for trial in realistic.trials
        ),
    )
    (warning,) = compare([realistic, in_onnx]).warnings
    assert "not all taken in one way" in warning
    assert "in ONNX Runtime" in warning


def test_different_data_and_ways_of_timing_are_said(realistic, sample, study):
    data = replace(realistic.plan.data, hash="other", name="mnist")
    other = replace(realistic, plan=replace(realistic.plan, data=data))
    (warning,) = compare([realistic, other]).warnings
    assert "different data" in warning
    assert "mnist (other)" in warning
    searched = study([sample.trial(sample.params(), accuracy=77.0, ratio=3.0)])
    warnings = compare([realistic, searched]).warnings
    assert any("not all taken in one way" in each for each in warnings)
    assert any("while others trained" in each for each in warnings)


def test_plans_are_compared_field_by_field(realistic):
    asked = {**realistic.plan.plan, "seed": 7, "name": "elsewhere"}
    other = replace(realistic, plan=replace(realistic.plan, plan=asked, name="other"))
    told = compare([realistic, other])
    assert [(d.field, d.values) for d in told.differences] == [("plan: seed", ("0", "7"))]
    assert [study.label for study in told.studies] == ["pareto-demo", "other"]


def test_values_are_told_as_in_a_report(realistic):
    asked = {**realistic.plan.plan, "fixed": {"width": 16, "schedule": "cosine"}}
    data = replace(realistic.plan.data, student_train=5400)
    other = replace(realistic, plan=replace(realistic.plan, plan=asked, data=data))
    told = compare([realistic, other])
    assert [(d.field, d.values) for d in told.differences] == [
        ("plan: fixed", ("–", "width 16, schedule cosine")),
        ("images of a student", ("45,000", "5,400")),
    ]
    (fixed,) = re.findall("<dt>fixed</dt><dd>(.*?)</dd>", render(other))
    assert fixed == told.differences[0].values[1]


def test_what_has_no_common_measure_is_refused(realistic, study):
    with pytest.raises(NotComparableError, match="two studies or more"):
        compare([realistic])
    score = replace(realistic.plan.space.score, name="PSNR", unit="dB")
    space = replace(realistic.plan.space, score=score)
    other = replace(realistic, plan=replace(realistic.plan, space=space))
    with pytest.raises(NotComparableError, match="PSNR in dB and accuracy in %"):
        compare([realistic, other])
    with pytest.raises(NotComparableError, match="no reference point yet"):
        compare([realistic, study([], with_teacher=False)])


def test_every_study_has_a_look_of_its_own(realistic):
    looks = [look(place) for place in range(12)]
    assert len(set(looks)) == 12
    assert len({symbol for _, symbol, _ in looks[:6]}) == len(SYMBOLS)
    figure = fronts_figure(compare([realistic, realistic, realistic]))
    keys = [trace.meta["key"] for trace in figure.data]
    assert keys == [f"study-{i}" for i in (1, 2, 3) for _ in range(3)]


def test_the_page_is_the_same_twice_and_its_names_harmless(realistic):
    evil = replace(realistic, plan=replace(realistic.plan, name=EVIL))
    page = compared_page(compare([realistic, evil]))
    assert page == compared_page(compare([realistic, evil]))
    assert "<img" not in page
    assert "&lt;img src=x" in page


def test_command_line(realistic_folder, replicated_folder, tmp_path, capsys):
    page = tmp_path / "beside.html"
    folders = [str(realistic_folder), str(replicated_folder)]
    assert main([*folders, "--output", str(page), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["file"] == str(page)
    assert [len(study["front"]) for study in told["studies"]] == [9, 7]
    assert told["differences"] == {"plan: replicates": ["–", "3"]}
    assert page.stat().st_size < 2_500_000


def test_refusals_are_one_line_and_write_nothing(realistic_folder, tmp_path, capsys):
    page = tmp_path / "beside.html"
    for folders in ([realistic_folder], [realistic_folder, tmp_path / "nowhere"]):
        assert main([*map(str, folders), "--output", str(page)]) == 2
        printed = capsys.readouterr()
        assert len(printed.err.splitlines()) == 1
        assert printed.out == ""
    assert not page.exists()
    taken = tmp_path / "taken"
    taken.mkdir()
    (tmp_path / ".taken.local").write_text("mine")
    for output in (taken, tmp_path / "nowhere" / "x.html"):
        both = [str(realistic_folder), str(realistic_folder)]
        assert main([*both, "--output", str(output)]) == 2
        printed = capsys.readouterr()
        assert len(printed.err.splitlines()) == 1
        assert f"'{output}'" in printed.err
    assert sorted(path.name for path in tmp_path.iterdir()) == [".taken.local", "taken"]
    shutil.rmtree(tmp_path / "nowhere", ignore_errors=True)


def after_aa_test(results, spread, *, factor=1.0):
    """The same after an A/A test, the latency of its teacher times a factor."""
    test = TieTest("[1,1,1,1]", (1.0,) * 5, spread)
    taken = results.teacher.latency.batch_1_ms
    slower = timed(results, batch_1_ms=replace(taken, median=factor * taken.median))
    return replace(slower, tie_tests=TieTests((test,)))


@pytest.fixture
def one_student(sample, tmp_path):
    """Writes a study of one student, of a spread of 3 %, and reads it back."""

    def write(name, accuracy, ratio):
        trials = [sample.trial(sample.params(), accuracy=accuracy, ratio=ratio)]
        return after_aa_test(read_record(sample.write_record(tmp_path / name, trials)), 0.03)

    return write


@pytest.mark.parametrize(
    ("accuracy", "ratio", "joint"),
    [
        (80.0, 4.0, [True, True]),
        (80.0, 4.1, [True, True]),  # one score, tied in latency
        (80.0, 4.2, [False, True]),
        (79.0, 4.1, [True, False]),  # faster by less than a timing is known to
        (79.0, 4.2, [True, True]),
        (81.0, 3.9, [False, True]),
    ],
)
def test_latencies_that_timing_does_not_tell_apart_are_tied_on_the_joint_front(
    one_student, accuracy, ratio, joint
):
    one, other = one_student("one", 80.0, 4.0), one_student("other", accuracy, ratio)
    told = compare([one, other])
    assert [study.members[0].joint for study in told.studies] == joint
    # The larger of two spreads counts, of whichever study it is.
    assert compare([after_aa_test(one, 0.001), other]).members == told.members
    assert compare([one, after_aa_test(other, 0.001)]).members == told.members


def test_every_studys_spread_is_told(realistic):
    two_paces = TieTests(
        (
            TieTest("[2,2,2,2]", (1.0,) * 9, 0.15, "teacher"),
            TieTest("[1,0,0,0]", (1.0,) * 5, 0.004, "metronome"),
        )
    )
    told = compare(
        [after_aa_test(realistic, 0.02), replace(realistic, tie_tests=two_paces), realistic]
    )
    page = compared_page(told).replace("\u00a0", " ")
    for shown in ("2.0 %", "0.4 % (large ones 15 %)", "not tested"):
        assert f">{shown}</td>" in page
    assert "a smaller difference means nothing" in page
    assert "Not tested: pareto-demo (3)." in page
    spreads = [[test["spread"] for test in each["aa_spreads"]] for each in summary(told)["studies"]]
    assert spreads == [[0.02], [0.15, 0.004], []]
    assert "No study has an A/A test yet" in compared_page(compare([realistic, realistic]))


def test_studies_timed_too_noisily_to_compare_are_said_to_be(realistic):
    assert compare([after_aa_test(realistic, 0.19), realistic]).warnings == ()
    (warning,) = compare([after_aa_test(realistic, 0.27), realistic]).warnings
    assert warning.startswith("Timings were too noisy to compare students by:")
    assert warning.endswith("pareto-demo (1): 27\u00a0%.")


def test_one_teacher_timed_clearly_differently_is_said_and_latencies_become_shares(realistic):
    told = compare([realistic, after_aa_test(realistic, 0.1, factor=1.12)])
    (warning,) = told.warnings
    assert warning.replace("\u00a0", " ") == (
        "Latencies in ms of pareto-demo (1) and pareto-demo (2) compare only by ratio, so "
        "each is told as a share of its own study's teacher's: on one device they timed their "
        "teacher, ResNet-50 [3,4,6,3], further apart than timings of equal students lie. "
        "pareto-demo (1): 24.6 ms, pareto-demo (2): 27.6 ms."
    )
    assert told.relative
    for spread, factor in ((0.1, 1.09), (0.001, 1.02)):
        told = compare([realistic, after_aa_test(realistic, spread, factor=factor)])
        assert told.warnings == ()
        assert not told.relative


def test_shares_of_different_networks_are_no_way_out_of_timings_that_disagree(realistic):
    other = with_teacher(realistic, name="Other", key="b")
    told = compare([realistic, after_aa_test(realistic, 0.01, factor=2.0), other])
    assert not told.relative
    networks, apart = told.warnings
    assert networks.startswith("Ratios are to different networks. ")
    assert "of pareto-demo (1) and pareto-demo (2) compare only by ratio: on" in apart


def with_teacher(results, **differently):
    return replace(results, teacher=replace(results.teacher, **differently))


def test_teachers_of_one_network_that_were_trained_apart_are_no_different_networks(realistic):
    (warning,) = compare([realistic, with_teacher(realistic, key="apart")]).warnings
    assert "trained apart" in warning
    assert "under different teachers" in warning
    assert warning.endswith(
        "pareto-demo (1): ResNet-50 [3,4,6,3] (6f1d0c2b9a8e7d65), "
        "pareto-demo (2): ResNet-50 [3,4,6,3] (apart)."
    )
    assert compare([realistic, with_teacher(realistic)]).warnings == ()


def test_teachers_of_different_networks_are_told_by_what_differs(realistic):
    (warning,) = compare([realistic, with_teacher(realistic, name="Other", key="b")]).warnings
    assert warning == (
        "Ratios are to different networks. pareto-demo (1): ResNet-50 [3,4,6,3], "
        "pareto-demo (2): Other."
    )
    for differently, words in (
        ({"params_m": 24.0}, "of 24.00 M parameters and 167.4 M FLOPs."),
        ({"flops_m": 200.0}, "of 23.52 M parameters and 200.0 M FLOPs."),
    ):
        (warning,) = compare([realistic, with_teacher(realistic, **differently)]).warnings
        assert warning.startswith("Ratios are to different networks. ")
        assert "of 23.52 M parameters and 167.4 M FLOPs" in warning.replace("\u00a0", " ")
        assert warning.replace("\u00a0", " ").endswith(words)


def lede(*studies):
    page = compared_page(compare(studies))
    return re.search('<p class="lede">(.*?)</p>', page).group(1)


def test_whose_hypervolume_is_largest_is_said_only_where_one_is(realistic, sample, study):
    slow = study([sample.trial(sample.params(), accuracy=77.0, ratio=0.5)])
    assert lede(realistic, slow).startswith("pareto-demo (1) has the largest hypervolume, 0.598;")
    assert lede(realistic, realistic).startswith(
        "pareto-demo (1) and pareto-demo (2) have the same hypervolume, 0.598; the joint front"
    )
    assert lede(realistic, slow, realistic).startswith(
        "pareto-demo (1) and pareto-demo (3) share the largest hypervolume, 0.598; the joint"
    )
    assert lede(slow, slow).startswith(
        "No front dominates any area under the shared reference point; the joint front has"
    )


@pytest.mark.parametrize(
    ("areas", "words"),
    [
        ((0.9755, 0.9753), "The hypervolumes of a and b are less than 0.001 apart, about 0.976;"),
        ((0.9755, 0.9753, 0.5), "The largest hypervolumes, those of a and b, are less than 0.001"),
        ((0.97551, 0.97549), "a and b have the same hypervolume, 0.976;"),
        ((0.9755, 0.9744), "a has the largest hypervolume, 0.976;"),
    ],
)
def test_no_study_is_named_the_largest_by_less_than_is_shown(realistic, areas, words):
    told = compare([realistic] * len(areas))
    studies = tuple(
        each._replace(label=label, hypervolume=area)
        for each, label, area in zip(told.studies, "abc", areas, strict=False)
    )
    page = compared_page(told._replace(studies=studies))
    assert f'<p class="lede">{words}' in page
