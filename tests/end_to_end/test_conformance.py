"""What every space of the service does: a study of three trials, its report, going on with one."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from launching import BRIEF, Launched, Launcher
from mhist_images import write_mhist

from analysis.record import read_record
from analysis.results import trained_alone
from search_spaces.catalogue import BUILT_IN, load_space
from search_spaces.space import SearchSpace

pytestmark = pytest.mark.end_to_end

# Small data of the kind a space is for; the others see digits.
DATA = {
    "mnist_subclass": "digits2x5",
    "mhist_mobilenet": "mhist",
    "pairs_autoencoder": "digit_pairs",
}
# What a space needs besides to run where there is no network, or to be trained in seconds.
BESIDES = {
    **dict.fromkeys(
        ("cifar_blocks", "cifar_hybrid", "cifar_modern", "cifar_self"), ("--fix", "width=16")
    ),
    # Of few layers: each is compiled.
    "cifar_quantized": (
        *("--fix", "width=16", "--fix", "stem_stride=2"),
        *("--fix", "blocks_3=0", "--fix", "blocks_4=0"),
    ),
    "mhist_mobilenet": ("--fix", "weights=none", "--teacher-weights", "none"),
    # How many CPUs a trial has is measured once for every kind of task.
    "mnist_dense": ("--cpus-per-trial", "auto"),
    "pairs_autoencoder": ("--cpus-per-trial", "auto"),
}
# Data of two classes.
BINARY = ("digits2x5", "mhist")
DIGITS = (32, 32, 3)
# The third trial of these is one more for a study that has ended: of each kind of task one, with
# exits, and with a method of this project alone. Going on depends on nothing else of a space.
GO_ON = ("mnist_subclass", "mhist_mobilenet", "cifar_self", "pairs_autoencoder")
# What a space needs of an extra of this package.
NEEDS = {"cifar_quantized": "torchao"}


def trials_of(space: SearchSpace) -> int:
    """How many its study begins with."""
    return 2 if space.name in GO_ON else 3


def arguments(space: SearchSpace) -> tuple[str, ...]:
    most = space.most_epochs()
    epochs = ("--max-epochs", "1")
    if most is not None:
        least = min(
            value for value in range(1, most + 1) if space.parameter("epochs").check(value) is None
        )
        epochs = ("--fix", f"epochs={least}")
    teacher = ("--teacher-epochs", "1") if space.taught else ()
    return (
        *BRIEF,
        *("--space", space.name, "--data", DATA.get(space.name, "digits"), "--name", "tiny"),
        *("--trials", str(trials_of(space)), "--tracking-uri", "none", "--json"),
        *("--scheduler", "none", *epochs, *teacher, *BESIDES.get(space.name, ())),
    )


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The teachers of all spaces so far: several have the same one."""
    return tmp_path_factory.mktemp("teachers") / "teachers"


def linked(source: Path, target: Path) -> None:
    """Have a folder's files in another one too, but for those that are there."""
    for path in source.rglob("*"):
        place = target / path.relative_to(source)
        if path.is_file() and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, place)


@pytest.fixture(scope="module", params=BUILT_IN)
def studied(
    request: pytest.FixtureRequest,
    launcher: Launcher,
    teachers: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[SearchSpace, Launched]:
    """A space, and the study of its default, its control and what the search proposed."""
    space = load_space(request.param)
    if space.name in NEEDS:
        pytest.importorskip(NEEDS[space.name], reason=f"{NEEDS[space.name]} is not installed")
    studies = tmp_path_factory.mktemp(space.name) / "studies"
    if DATA.get(space.name) == "mhist":
        write_mhist(studies.parent / "data" / "mhist")
    linked(teachers, studies / "teachers")
    run = launcher.run(*arguments(space), studies=studies)
    linked(studies / "teachers", teachers)
    return space, run


def test_a_study_of_the_space_ends_with_a_front(studied: tuple[SearchSpace, Launched]) -> None:
    space, run = studied

    assert run.returncode == 0, run.stderr
    record = read_record(run.studies / "tiny")
    statuses = [trial.status for trial in trained_alone(record.trials)]
    assert statuses[:2] == ["complete", "complete"]
    assert len(statuses) == trials_of(space)
    assert run.result["front"]
    assert all(member["test_score"] > 0 for member in run.result["front"])
    first, second = trained_alone(record.trials)[:2]
    assert [first.source, second.source] == ["preset", "control"]
    assert first.architecture == space.describe(first.params)
    assert second.architecture == space.describe(space.control_of(first.params))
    assert first.model is not None
    assert first.model.params_m > 0
    assert first.epochs_done == space.epochs_of(first.params, 1)


def test_its_latencies_are_of_as_many_threads_as_a_trial_has_cpus(
    studied: tuple[SearchSpace, Launched],
) -> None:
    _, run = studied
    cpus = json.loads((run.studies / "tiny" / "plan.json").read_text())["plan"]["cpus_per_trial"]

    assert cpus >= 1
    latencies = [trial.latency for trial in read_record(run.studies / "tiny").trials]
    assert {latency.threads for latency in latencies if latency is not None} == {cpus}


def test_its_report_tells_of_all_trials(studied: tuple[SearchSpace, Launched]) -> None:
    space, run = studied
    report = Path(run.result["report"])

    assert space.title in report.read_text(encoding="utf-8")
    with (report.parent / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    rows = [row for row in rows if row["source"] != "exit"]
    assert len(rows) == trials_of(space)
    assert {row["status"] for row in rows[:2]} == {"complete"}


def test_whoever_tells_of_it_counts_the_same_trials_and_exits(
    studied: tuple[SearchSpace, Launched],
) -> None:
    space, run = studied
    trials = read_record(run.studies / "tiny").trials
    exits = [trial for trial in trials if trial.source == "exit"]
    expected = [
        space.describe(other)
        for trial in trained_alone(trials)
        for other in space.siblings(trial.params)
    ]

    assert sorted(trial.architecture for trial in exits) == sorted(expected)
    assert run.result["exits"] == len(expected)
    assert sum(run.result["counts"].values()) == len(trials) - len(exits) == trials_of(space)
    with (Path(run.result["report"]).parent / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(trials)


def test_its_students_are_kept_as_plain_state_dicts(studied: tuple[SearchSpace, Launched]) -> None:
    from study.distillation import checkpoint
    from study.distillation.deployment import kept

    space, run = studied
    trials = read_record(run.studies / "tiny").trials
    classes = len(read_record(run.studies / "tiny").plan.data.classes)
    shape = read_record(run.studies / "tiny").plan.data.shape
    students = sorted((run.studies / "tiny" / "checkpoints").glob("*/student.pt"))
    kept_of = {int(path.parent.name[1:]) for path in students}
    front = {member["trial"] for member in run.result["front"]}
    assert front
    assert front <= kept_of  # of each member, at least
    for path in students:
        state = checkpoint.load(path)
        trial = trials[int(path.parent.name[1:])]
        assert state["params"] == dict(trial.params)
        trained = space.build_student(trial.params, classes, (shape[0], shape[1], shape[2]))
        kept(trained).load_state_dict(state["weights"])


def test_a_third_trial_is_trained_and_none_runs_again(
    studied: tuple[SearchSpace, Launched], launcher: Launcher
) -> None:
    space, run = studied
    before = read_record(run.studies / "tiny").trials

    if space.name in GO_ON:
        again = launcher.run(
            *("resume", "tiny", "--trials", "3", "--json"), studies=run.studies, module="study"
        )
        assert again.returncode == 0, again.stderr

    trials = read_record(run.studies / "tiny").trials
    third = trained_alone(trials)[2:]
    # Self-distillation has a second control.
    assert [trial.source for trial in third] in (["sampler"], ["control"])
    assert third[0].status in ("complete", "infeasible")
    for then, now in zip(before, trials, strict=False):
        assert (then.curve, then.outcome, then.params) == (now.curve, now.outcome, now.params)


@pytest.mark.parametrize("name", BUILT_IN)
def test_its_control_and_its_presets_are_configurations_of_it(name: str) -> None:
    space = load_space(name)

    control = space.control_of(space.complete({}))
    assert space.is_control(control)
    assert not space.is_control(space.complete({}))
    for rows in space.presets.values():
        assert len({row.label for row in rows}) == len(rows)
        for row in rows:
            params = space.complete(row.params)
            assert {key: params[key] for key in row.params} == dict(row.params)
    for name, table in space.published.items():
        keys = {column.key for column in table.columns}
        assert {key for row in space.presets[name] for key in row.published} <= keys


@pytest.mark.parametrize("name", BUILT_IN)
def test_students_of_one_name_have_one_size_and_of_two_names_are_two(name: str) -> None:
    import random

    import torch

    from study.distillation.deployment import kept

    space, generator = load_space(name), random.Random(0)
    classes = 2 if DATA.get(name) in BINARY else 10
    found: dict[str, list[Any]] = {}
    for _ in range(12):
        overrides: dict[str, Any] = {}
        for parameter in space.parameters:
            low, high = getattr(parameter, "low", None), getattr(parameter, "high", None)
            choices = getattr(parameter, "choices", None) or (low, high)
            if parameter.architecture:
                overrides[parameter.name] = generator.choice(choices)
        params = space.complete(overrides)
        with torch.device("meta"):
            student = kept(space.build_student(params, classes, DIGITS))
        shapes = [tuple(tensor.shape) for tensor in student.state_dict().values()]
        known = found.setdefault(space.describe(params), shapes)
        assert known == shapes
