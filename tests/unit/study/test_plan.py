import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search_spaces.cifar_blocks import SPACE
from search_spaces.space import WEIGHTED_F1
from study.arguments import parser
from study.budget import Budget
from study.names import StudyName, StudyNameError
from study.parsing import parse_duration, parse_fixed, parse_objectives, parse_views
from study.plan import PlanError, StudyPlan, differences, identity_hash
from study.resolving import changed, resolve
from study.seed_points import seed_points
from study.verbs import resume


def make_plan(*arguments: str) -> StudyPlan:
    line = ["--space", "cifar_blocks", "--data", "digits", *arguments]
    plan, _ = resolve(parser().parse_args(line))
    return plan


def identity(plan: StudyPlan) -> dict[str, Any]:
    return plan.identity(space_hash="s", data_hash="d", teacher_key="t")


@pytest.mark.parametrize("text", ["a", "cifar_blocks-digits", "A.b-c_9", "x" * 64])
def test_names_of_letters_digits_dots_dashes_and_underscores_are_taken(text: str) -> None:
    assert str(StudyName(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "../a", "a/b", ".hidden", "a b", "x" * 65, "é", "a\n", "<b>", "teachers"],
)
def test_names_that_could_leave_the_folder_or_hide_in_it_are_refused(text: str) -> None:
    with pytest.raises(StudyNameError):
        StudyName(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("2h", 7200),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1d", 86400),
        ("45s", 45),
    ],
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_a_plan_comes_back_from_json_as_it_was() -> None:
    plan = make_plan(
        "--fix", "width=16", "--budget", "30m", "--device-hours", "3", "--max-latency", "2.5"
    )

    assert StudyPlan.from_json(plan.to_json()) == plan
    assert plan.fixed == {"width": 16}
    assert plan.budget == Budget(trials=plan.budget.trials, seconds=1800, device_hours=3)


def test_a_local_ray_is_the_one_that_a_study_has_without_an_address() -> None:
    assert make_plan("--address", "local") == make_plan()
    assert make_plan("--address", "auto").address == "auto"


def test_a_stored_plan_of_another_version_is_refused_by_field() -> None:
    body = make_plan().to_json()
    del body["seed"]

    with pytest.raises(PlanError, match="seed"):
        StudyPlan.from_json(body)


@pytest.mark.parametrize(
    ("asked", "objectives", "third"),
    [
        ("score,latency", ("score", "latency"), None),
        ("accuracy, latency", ("score", "latency"), None),
        ("latency,score", ("score", "latency"), None),
        ("accuracy,latency,params", ("score", "latency", "params"), "params_m"),
        ("flops,score,latency", ("score", "latency", "flops"), "flops_m"),
    ],
)
def test_objectives_are_named_in_any_order(
    asked: str, objectives: tuple[str, ...], third: str | None
) -> None:
    plan = make_plan("--objectives", asked)

    assert plan.objectives == objectives
    assert plan.third == third
    assert StudyPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def stored_as(studies: Path, storage: str, directory: Path) -> None:
    """A plan stored there under the name that :func:`make_plan` gives."""
    folder = studies / "cifar_blocks-digits"
    folder.mkdir(parents=True, exist_ok=True)
    body = {**make_plan().to_json(), "storage": storage}
    document = {"format": 2, "plan": body, "directory": str(directory)}
    (folder / "plan.json").write_text(json.dumps(document))


def test_a_record_in_a_file_of_sqlite_is_the_same_one_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert make_plan().storage is None
    assert make_plan("--storage", "sqlite:///r.db").storage == f"sqlite:///{tmp_path / 'r.db'}"
    for url in ("sqlite:////data/r.db", "postgresql+psycopg://me@db/r", "sqlite:///:memory:"):
        assert make_plan("--storage", url).storage == url


def test_a_relative_database_of_a_stored_plan_is_no_other_plan_where_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, elsewhere, studies = (tmp_path / name for name in ("a", "b", "studies"))
    for each in (started, elsewhere):
        each.mkdir()
    asked = ("--storage", "sqlite:///r.db", "--studies", str(studies))
    monkeypatch.chdir(started)

    stored_as(studies, "sqlite:///r.db", started)
    assert make_plan(*asked).storage == "sqlite:///r.db"
    stored_as(studies, f"sqlite:///{started / 'r.db'}", started)
    assert make_plan(*asked).storage == f"sqlite:///{started / 'r.db'}"
    # From elsewhere it is another file.
    stored_as(studies, "sqlite:///r.db", started)
    monkeypatch.chdir(elsewhere)
    assert make_plan(*asked).storage == f"sqlite:///{elsewhere / 'r.db'}"


def test_the_name_of_a_spaces_own_score_stands_for_it() -> None:
    space = replace(SPACE, score=WEIGHTED_F1)

    assert parse_objectives("weighted F1,latency", space) == ("score", "latency")
    assert parse_objectives("WEIGHTED F1,latency,flops", space)[0] == "score"


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("score,latency,param", "'param' is unknown; did you mean params?"),
        (
            "score,latency,bytes",
            "'bytes' is unknown; choose from score, latency, params, flops, accuracy",
        ),
        ("PSNR,latency", "'psnr' is unknown"),
        ("score", "every study optimises the latency too"),
        ("latency,params", "every study optimises the score too"),
        ("score,latency,params,flops", "4 are more than three; give score,latency"),
        ("accuracy,score,latency", "score is named twice"),
        ("score,latency,params,params", "params is named twice"),
        ("", "'' is unknown; choose from score"),
    ],
)
def test_objectives_that_make_no_study_are_refused_with_the_mend(asked: str, named: str) -> None:
    with pytest.raises(PlanError, match="--objectives ") as refusal:
        make_plan("--objectives", asked)

    assert named in str(refusal.value)


def test_a_third_objective_is_one_of_the_space_too() -> None:
    line = ["--space", "cifar_blocks", "--data", "digits", "--objectives", "score,latency,flops"]
    plan, space = resolve(parser().parse_args(line))

    assert [objective.key for objective in space.objectives] == [
        "val_score", "latency_ms", plan.third,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"budget": Budget(200)},
        {"budget": Budget(1, seconds=60.0)},
        {"budget": Budget(1, device_hours=0.5)},
        {"retries": 7},
        {"concurrent": 1},
        {"address": "10.0.0.1:6379"},
        {"tracking_uri": "none"},
    ],
)
def test_how_long_and_where_do_not_make_another_study(change: dict[str, Any]) -> None:
    plan = make_plan()

    assert identity_hash(identity(replace(plan, **change))) == identity_hash(identity(plan))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"max_epochs": 3},
        {"sampler": "random"},
        {"views": 2},
        {"views": "all"},
        {"cpus_per_trial": 2},
        {"runtime": "onnx"},
        {"objectives": ("score", "latency", "params")},
    ],
)
def test_what_is_asked_makes_another_study_and_the_difference_is_named(
    change: dict[str, Any],
) -> None:
    plan = make_plan()
    changed = replace(plan, **change)
    (name,) = change

    assert identity_hash(identity(changed)) != identity_hash(identity(plan))
    (difference,) = differences(identity(plan), identity(changed))
    assert difference.startswith(f"{name} ")
    assert str(changed.to_json()[name]) in difference


def test_seed_points_are_the_preset_in_order_and_hold_fixed_values() -> None:
    points = seed_points(SPACE.with_fixed({"width": 16}), "paper", {"width": 16})

    assert [point.label for point in points][:2] == ["Baseline", "[1,1,1,1]"]
    assert all(point.params["width"] == 16 for point in points)
    # The control of the default is one of the published rows already.
    assert len(points) == 9


def test_without_a_preset_the_default_and_its_control_come_first() -> None:
    default, control = seed_points(SPACE, None)

    assert default.params == SPACE.complete({})
    assert control.params == SPACE.control_of(default.params)
    assert (default.source, control.source) == ("preset", "control")


def test_a_space_without_controls_begins_with_none() -> None:
    space = replace(SPACE, control={})

    assert [(point.label, point.source) for point in seed_points(space, None)] == [
        ("default", "preset")
    ]
    rows = seed_points(space, "paper")
    assert [point.label for point in rows] == [row.label for row in space.presets["paper"]]
    assert {point.source for point in rows} == {"preset"}


def test_fixed_values_take_the_type_of_their_parameter() -> None:
    fixed = parse_fixed(
        ["width=16", "alpha=0.5", "terms=ce+kl", "blocks_1=2", "train_share=1"], SPACE
    )

    assert fixed == {
        "width": 16,
        "alpha": 0.5,
        "terms": "ce+kl",
        "blocks_1": 2,
        "train_share": 1.0,
    }
    assert type(fixed["width"]) is int
    assert type(fixed["train_share"]) is float


@pytest.mark.parametrize("item", ["width", "width=17", "alpha=2", "alpha=nan", "blocks_1=1.5"])
def test_fixed_values_that_do_not_fit_are_refused(item: str) -> None:
    with pytest.raises(PlanError, match="--fix"):
        parse_fixed([item], SPACE)


def test_trials_default_to_at_least_the_preset() -> None:
    assert make_plan("--preset", "paper").budget.trials >= 9
    assert make_plan("--preset", "paper", "--trials", "2").budget.trials == 2


@pytest.mark.parametrize(
    ("budget", "seconds", "device_seconds", "spent"),
    [
        (Budget(9), 1e9, 1e9, None),
        (Budget(9, seconds=60), 59.9, 1e9, None),
        (Budget(9, seconds=60), 60, 0, "the budget was spent"),
        (Budget(9, device_hours=0.5), 1e9, 1799, None),
        (Budget(9, device_hours=0.5), 0, 1800, "the device-hours were spent"),
        (Budget(9, 60, 0.5), 0, 1800, "the device-hours were spent"),
    ],
)
def test_whichever_bound_on_time_is_reached_first_ends_a_study(
    budget: Budget, seconds: float, device_seconds: float, spent: str | None
) -> None:
    assert budget.spent(seconds, device_seconds) == spent


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--trials", "0"), "--trials 0 is less than 1"),
        (("--budget", "0s"), "--budget 0 is not above 0"),
        (("--budget", "0"), "--budget 0 is not above 0"),
        (("--budget", "3"), r"--budget '3' has no unit; did you mean 3m, or 3h\?"),
        (("--seed", "99999999999999999999"), "is too large; give less than 4294967296"),
        (("--device-hours", "-1"), "--device-hours -1 is not above 0"),
    ],
)
def test_a_budget_of_nothing_is_refused(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        make_plan(*arguments)


def test_what_is_resumed_changes_only_how_long_and_where() -> None:
    plan = make_plan("--trials", "10", "--budget", "30m", "--retries", "5")
    args = resuming("--trials", "200", "--device-hours", "2", "--concurrent", "1")

    resumed = changed(plan, args)

    assert resumed.budget == Budget(200, 1800, 2)
    assert resumed.concurrent == 1
    assert resumed.retries == 5
    assert identity_hash(identity(resumed)) == identity_hash(identity(plan))


def resuming(*arguments: str) -> argparse.Namespace:
    made = argparse.ArgumentParser()
    resume.configure(made)
    return made.parse_args(["a-study", *arguments])


def test_replicates_are_no_part_of_what_a_study_is_and_older_plans_have_one_run() -> None:
    once, thrice = make_plan(), make_plan("--replicates", "3")

    assert (once.replicates, thrice.replicates) == (1, 3)
    assert identity(once) == identity(thrice)
    assert StudyPlan.from_json(thrice.to_json()) == thrice
    older = {name: value for name, value in once.to_json().items() if name != "replicates"}
    assert StudyPlan.from_json(older) == once


def test_a_plan_from_before_runtimes_could_be_asked_for_means_eager_and_is_the_same_study() -> None:
    plan = make_plan()
    older = {name: value for name, value in plan.to_json().items() if name != "runtime"}

    assert StudyPlan.from_json(older) == plan
    assert "runtime" not in identity(plan)
    asked = identity(make_plan("--runtime", "onnx"))
    assert differences(identity(plan), asked) == ["runtime 'eager', now 'onnx'"]


def test_how_long_latencies_take_is_no_part_of_the_question() -> None:
    plan, brief = make_plan(), make_plan("--timing-seconds", "0.5")

    assert (plan.timing_seconds, brief.timing_seconds) == (6.0, 0.5)
    assert identity(plan) == identity(brief)
    older = {name: value for name, value in plan.to_json().items() if name != "timing_seconds"}
    assert StudyPlan.from_json(older) == plan
    with pytest.raises(PlanError, match="--timing-seconds 0 is not above 0; give a positive"):
        make_plan("--timing-seconds", "0")


def test_a_resume_changes_the_replicates_where_it_names_them() -> None:
    command = argparse.ArgumentParser()
    resume.configure(command)
    stored = make_plan("--replicates", "3")

    assert changed(stored, command.parse_args(["name"])) == stored
    assert changed(stored, command.parse_args(["name", "--replicates", "5"])).replicates == 5
    with pytest.raises(PlanError, match="--replicates 0 is less than 1; give 1 or more"):
        changed(stored, command.parse_args(["name", "--replicates", "0"]))


def test_all_views_are_asked_for_by_word_and_come_back_from_a_stored_plan() -> None:
    plan = make_plan("--views", "all")

    assert (plan.views, plan.number_of_views) == ("all", None)
    assert StudyPlan.from_json(plan.to_json()) == plan
    assert make_plan("--views", "3").number_of_views == 3


@pytest.mark.parametrize("text", ["many", "3.5", "", "ALL"])
def test_what_is_no_number_of_views_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match=f"--views {text!r} is no number of views; give 1 or more"):
        parse_views(text)
    with pytest.raises(PlanError, match="--views 0 is less than 1"):
        make_plan("--views", "0")


def test_a_gpu_answers_all_views_of_small_images_unless_a_number_is_asked_for() -> None:
    gpu = ("--gpus-per-trial", "0.25")

    assert make_plan(*gpu).views == "all"
    assert make_plan(*gpu, "--views", "8").views == 8
    assert make_plan(*gpu, "--image-size", "224").views == 8
    assert make_plan(*gpu, "--teacher-outputs", "live").views == 8
    assert make_plan().views == 8


@pytest.mark.parametrize(("asked", "mend"), [("1", "5"), ("12", "10"), ("29", "30")])
def test_fewer_epochs_than_a_space_tries_are_refused_with_a_number_that_it_has(
    asked: str, mend: str
) -> None:
    line = ["--space", "cifar_cnn", "--data", "digits", "--max-epochs"]
    with pytest.raises(PlanError, match=rf"hold them with --fix epochs={mend}$"):
        resolve(parser().parse_args([*line, asked]))
    plan, _ = resolve(parser().parse_args([*line, mend, "--fix", f"epochs={mend}"]))
    assert plan.max_epochs == int(mend)
