"""Which students can be exported, from a study's folder alone, and what is said of the others."""

import hashlib
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from analysis.record import StudyResults, read_record
from analysis.results import PLAN_FILE
from search_spaces.catalogue import file_hash, load_space
from search_spaces.networks.int8 import NoInt8KernelError
from search_spaces.space import SearchSpace
from study.__main__ import main
from study.distillation import checkpoint
from study.exporting import choice, exporting
from study.exporting.exporting import Asked, Exported, export_student
from study.exporting.programs import PROGRAMS_FOLDER, make_programs
from study.exporting.source import Images, find_images, load_kept_student, space_change
from study.plan import PlanError, StudyPlan
from study.progress import Progress
from study.trial_context import STUDENT_FILE, trial_folder

SHAPE, CLASSES = [16, 16, 3], ["cat", "dog", "bird"]
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
PARAMS = {"blocks_1": 1, "blocks_2": 0, "blocks_3": 0, "blocks_4": 0, "stem_stride": 2}


@pytest.fixture
def folder(sample: SimpleNamespace, tmp_path: Path) -> Path:
    """Trial 0 and 2 are kept, 1 was stopped, 3 is not kept any more, 4 still runs."""
    made = sample.trial
    trials = [
        made(sample.params(), accuracy=81.0, ratio=3.0),
        made(sample.params(), accuracy=40.0, ratio=3.0, status="stopped"),
        made(sample.params(), accuracy=70.0, ratio=9.0),
        made(sample.params(), accuracy=20.0, ratio=2.0),
        made(sample.params(), accuracy=70.0, ratio=3.0, status=None, epochs=30, done=2),
    ]
    sample.confirm_front(trials)
    plan = sample.plan(name="small", data=str(tmp_path / "nowhere"), device_hours=None)
    plan["data"] |= {"shape": SHAPE, "classes": CLASSES, "mean": MEAN, "std": STD}
    space = load_space("cifar_blocks").with_fixed({"width": 16})
    plan["space"]["hash"] = space.to_json("paper")["hash"]
    study: Path = sample.write_record(tmp_path / "studies" / "small", trials, plan_content=plan)
    for number in (0, 2):
        params = space.complete(PARAMS)
        student = space.build_student(params, len(CLASSES), tuple(SHAPE))
        checkpoint.save(
            trial_folder(study, number) / STUDENT_FILE,
            {"params": params, "weights": student.state_dict(), "run": 0},
        )
    return study


def refusal(folder: Path, number: int) -> str:
    with pytest.raises(PlanError) as caught:
        choice.chosen_trial(folder, read_record(folder), number)
    return str(caught.value)


def test_kept_trials_of_any_name_are_found(folder: Path) -> None:
    results = read_record(folder)

    assert choice.chosen_trial(folder, results, choice.trial_number("2")).number == 2
    assert choice.chosen_trial(folder, results, choice.trial_number("t0000")).number == 0


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (99, "study small has 5\u00a0trials, the last one t0004"),
        (1, "t0001 has no finished student (stopped: "),
        (3, "t0003 is finished, but its student was not kept"),
        (4, "t0004 is not finished (epoch 2 of 30)"),
    ],
)
def test_others_are_refused_with_the_reason_and_what_can_be_had(
    folder: Path, number: int, why: str
) -> None:
    words = refusal(folder, number)

    assert words.startswith(f"--trial {number}: {why}")
    nearest = 0 if number == 1 else 2
    assert words.endswith(f"can be exported: t0000, t0002; the nearest is --trial {nearest}")


def test_a_study_that_keeps_no_student_says_so(folder: Path) -> None:
    for number in (0, 2):
        (trial_folder(folder, number) / STUDENT_FILE).unlink()

    told = f"no student is kept; see python -m study status small --studies {folder.parent}"
    assert refusal(folder, 0).endswith(told)


@pytest.mark.parametrize("text", ["", "x", "t", "-1", "1.0", "t0007.pt"])
def test_what_is_no_trial_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="such as 7 or t0007"):
        choice.trial_number(text)


def test_a_missing_package_is_named_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        choice.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else object()
    )

    choice.check_installed("pt2")
    with pytest.raises(PlanError, match=r"needs onnxscript, .*\[export\].* --format pt2"):
        choice.check_installed("onnx")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--trial", "0", "--direction", "y_to_x"], "translate nothing"),
        (["--trial", "0", "--register", "a", "--format", "onnx"], "keeps students as pt2"),
        (["--trial", "0", "--register", "a/b"], "without any of"),
        (["--trial", "0", "--register", "a"], "python -m study sync small"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    before = sorted(folder.rglob("*"))

    assert main(["export", "small", "--studies", str(folder.parent), *arguments]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert sorted(folder.rglob("*")) == before


# Without the data set


def exported(folder: Path, output: Path, **changes: Any) -> Exported:
    results = read_record(folder)
    space = load_space("cifar_blocks").with_fixed({"width": 16})
    asked = Asked(results.trials[2], "pt2", "uint8", "x_to_y", output)
    return export_student(
        folder, results, space, replace(asked, **changes), images_of(folder, results), quiet()
    )


def images_of(folder: Path, results: StudyResults) -> Images:
    plan = StudyPlan.from_json(json.loads((folder / PLAN_FILE).read_text())["plan"])
    space = load_space("cifar_blocks").with_fixed({"width": 16})
    return find_images(plan, results.plan, space, folder.parent, quiet())


def quiet() -> Progress:
    return Progress(io.StringIO())


def test_without_the_data_set_random_images_are_asked_and_that_is_said(
    folder: Path, tmp_path: Path
) -> None:
    made = exported(folder, tmp_path / "out")

    assert made.evidence.agreement.agrees
    assert made.evidence.agreement.images == 256
    assert not made.evidence.real_images
    card = made.card.read_text()
    assert "256 random images, as the data set cannot be read" in card
    assert "It was checked on random images only" in card


@pytest.mark.parametrize("data", ["cifar10", "mnist", "mnist2x5"])
def test_a_published_data_set_that_is_gone_is_not_downloaded_for_an_export(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str
) -> None:
    monkeypatch.setattr("study.distillation.torchvision_data.download", pytest.fail)
    path, place = folder / PLAN_FILE, tmp_path / "data"
    document = json.loads(path.read_text())
    document["plan"] |= {"data": data, "data_dir": str(place)}
    path.write_text(json.dumps(document))

    images = images_of(folder, read_record(folder))

    assert images.pixels is None
    whole = data.removesuffix("2x5")
    assert images.words == f"the data set cannot be read ({whole} is not in {place})"
    assert not place.exists()


def test_a_card_tells_what_a_reader_needs(folder: Path, tmp_path: Path) -> None:
    made = exported(folder, tmp_path / "out")
    card = made.card.read_text()

    assert made.file == tmp_path / "out" / "small-t0002.pt2"
    assert sorted(path.name for path in made.file.parent.iterdir()) == [
        "small-t0002.pt2", "small-t0002.pt2.json", "small-t0002.pt2.md",
    ]  # fmt: skip
    assert made.sha256 == hashlib.sha256(made.file.read_bytes()).hexdigest()
    assert f"sha256:{made.sha256}" in card
    for words in ("70.00", "in the order: cat, dog, bird", "0.5000, 0.4000, 0.3000", "Licence"):
        assert words in card
    kept = json.loads((made.file.parent / "small-t0002.pt2.json").read_text())
    assert kept == made.to_json() | {"evidence": json.loads(json.dumps(kept["evidence"]))}
    assert [each["batch"] for each in kept["evidence"]["timings"]] == [1, 64]


def test_the_five_lines_of_a_card_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = exported(folder, tmp_path / "out")
    code = made.card.read_text().partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path / "out")
    seen: dict[str, Any] = {}

    exec(code, seen)

    assert len(code.splitlines()) == 5
    assert tuple(seen["answer"].shape) == (1, len(CLASSES))


def test_a_plan_of_an_earlier_version_needs_the_data_set(folder: Path) -> None:
    path = folder / PLAN_FILE
    document = json.loads(path.read_text())
    del document["data"]["mean"], document["data"]["std"]
    path.write_text(json.dumps(document))

    with pytest.raises(PlanError, match="bring the data back"):
        images_of(folder, read_record(folder))


def test_a_damaged_student_is_named(folder: Path, tmp_path: Path) -> None:
    path = trial_folder(folder, 2) / STUDENT_FILE
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(PlanError, match="the student of t0002 is damaged"):
        exported(folder, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_output_that_is_a_file_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")

    with pytest.raises(PlanError, match="name another folder"):
        exported(folder, tmp_path / "out")


def test_a_student_is_loaded_with_its_own_weights(folder: Path) -> None:
    results = read_record(folder)
    space = load_space("cifar_blocks")

    kept = load_kept_student(folder, results.plan, space, 2, "x_to_y")

    path = trial_folder(folder, 2) / STUDENT_FILE
    stored = checkpoint.load(path)["weights"]
    assert all((kept.network.state_dict()[name] == value).all() for name, value in stored.items())
    assert kept.weights_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not kept.network.training


def test_a_student_is_built_with_the_seed_of_its_run(folder: Path) -> None:
    def build(params: Any, classes: int, shape: Any) -> nn.Module:
        network: nn.Module = load_space("cifar_blocks").build_student(params, classes, shape)
        network.order = torch.randperm(1000)  # drawn, and no part of its weights
        return network

    space = replace(load_space("cifar_blocks"), build_student=build)
    torch.manual_seed(0)
    drawn = build(space.complete(PARAMS | {"width": 16}), len(CLASSES), tuple(SHAPE)).order

    kept = load_kept_student(folder, read_record(folder).plan, space, 2, "x_to_y")

    assert torch.equal(kept.network.order, drawn)


# What cannot be had

OWN_SPACE = """
from dataclasses import replace
from torch import nn
from search_spaces import cifar_blocks

def build_student(params, classes, shape):
    network = cifar_blocks.SPACE.build_student(params, classes, shape)
    plain = network.forward
    {body}
    return network

SPACE = replace(cifar_blocks.SPACE, build_student=build_student)
"""
BRANCHING = "network.forward = lambda x: plain(x) if x.sum() > 0 else plain(-x)"


@pytest.fixture
def own_space(folder: Path, tmp_path: Path) -> Path:
    """A space of one's own, by which the study was planned."""
    path = tmp_path / "my_space.py"
    path.write_text(OWN_SPACE.format(body=""))
    document = json.loads((folder / PLAN_FILE).read_text())
    document["plan"]["space"] = str(path)
    declared = load_space(str(path)).to_json("paper")["hash"]
    document["space"] |= {"hash": declared, "file_hash": file_hash(str(path))}
    (folder / PLAN_FILE).write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("form", ["onnx", "pt2"])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise KeyError('width')", ("does not build the student of t0002 any more ('width')",)),
        (
            "network.more = nn.Linear(2, 2)",
            ("does not build the student of t0002 any more", "more.weight", "bring it back"),
        ),
        (BRANCHING, ("t0002: the student cannot be had as {form} (", "--format ")),
    ],
)
def test_a_student_that_cannot_be_had_is_refused_in_a_line_and_nothing_is_left(
    folder: Path,
    own_space: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    body: str,
    words: tuple[str, ...],
) -> None:
    monkeypatch.chdir(folder)  # the verb goes where a study was started
    monkeypatch.setattr(sys, "path", [*sys.path])
    own_space.write_text(OWN_SPACE.format(body=body))

    arguments = ["--trial", "2", "--format", form, "--studies", str(folder.parent), "--json"]
    assert main(["export", "small", *arguments]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    for each in words:
        assert each.format(form=form) in line
    assert len(line) < 500
    assert list((folder / "exports").iterdir()) == []


def test_a_file_that_its_runtime_does_not_take_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no kernel for Foo(1)\nat line 7") from ValueError("Foo is unknown\n")

    monkeypatch.setattr("study.distillation.export.open_file", refuse)

    with pytest.raises(PlanError) as caught:
        exported(folder, tmp_path / "out")
    assert str(caught.value) == (
        "t0002: its file cannot be run as pt2 (Foo is unknown); ask for another --format"
    )
    assert list((tmp_path / "out").iterdir()) == []


def test_an_int8_student_without_kernels_here_is_sent_to_another_machine(folder: Path) -> None:
    def build(*_: object) -> nn.Module:
        raise NoInt8KernelError("this processor is arm64; add --fix precision=float32")

    space = replace(load_space("cifar_blocks"), build_student=build)

    with pytest.raises(PlanError, match=r"^t0002: this processor is arm64; export it on a machine"):
        load_kept_student(folder, read_record(folder).plan, space, 2, "x_to_y")


# A space that has changed


def test_a_space_as_it_was_planned_has_not_changed(folder: Path, own_space: Path) -> None:
    plan = read_record(folder).plan

    assert space_change(plan, load_space(str(own_space))) is None
    earlier = replace(plan, space=replace(plan.space, file_hash=None))
    own_space.write_text(OWN_SPACE.format(body=BRANCHING))
    assert space_change(earlier, load_space(str(own_space))) is None  # it cannot be told


def test_a_file_that_has_changed_is_told_though_it_declares_the_same(
    folder: Path, own_space: Path
) -> None:
    own_space.write_text(OWN_SPACE.format(body="network.forward = lambda x: -plain(x)"))

    change = space_change(read_record(folder).plan, load_space(str(own_space)))

    assert change == f"{own_space} has changed since small was planned"


def test_a_declaration_that_has_changed_is_told_in_terminal_card_and_figures(
    folder: Path, tmp_path: Path
) -> None:
    results, stream = read_record(folder), io.StringIO()
    asked = Asked(results.trials[2], "pt2", "uint8", "x_to_y", tmp_path / "out")
    images = images_of(folder, results)

    same = export_student(folder, results, small_space(), asked, images, Progress(stream))
    before = stream.getvalue()
    unchanged = same.card.read_text()
    other = replace(small_space(), title="Another")
    made = export_student(folder, results, other, asked, images, Progress(stream))

    change = "space cifar_blocks is declared otherwise now than when small was planned"
    assert (same.space_change, made.space_change) == (None, change)
    assert "warning" not in before
    assert f"warning: {change}; " in " ".join(stream.getvalue().split())
    assert "But space" not in unchanged
    assert f"But {change}: " in made.card.read_text()
    assert made.to_json()["space_change"] == change


def small_space() -> SearchSpace:
    return load_space("cifar_blocks").with_fixed({"width": 16})


# Files beside each other


def test_what_takes_floats_lies_beside_what_takes_bytes(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exported(folder, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    made = exported(folder, out, takes="float32")

    assert made.file == out / "small-t0002-float32.pt2"
    after = {path.name: path.read_bytes() for path in out.iterdir()}
    assert before.items() <= after.items()
    ends = ("", ".json", ".md")
    assert after.keys() - before.keys() == {f"small-t0002-float32.pt2{end}" for end in ends}


@pytest.mark.parametrize("written", [0, 1])
def test_a_kill_between_two_writes_leaves_no_file_beside_the_card_of_another(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    out, calls, write = tmp_path / "out", [], exporting.write_atomically
    exported(folder, out)

    def killed(path: Path, content: str) -> None:
        if len(calls) == written:
            raise KeyboardInterrupt
        calls.append(path)
        write(path, content)

    monkeypatch.setattr(exporting, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        exported(folder, out)

    left = ["small-t0002.pt2", "small-t0002.pt2.md"]
    assert sorted(path.name for path in out.iterdir()) == left[: 1 + written]


def test_a_folder_among_the_students_of_mlflow_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / PROGRAMS_FOLDER / ".ipynb_checkpoints").mkdir(parents=True)
    (tmp_path / PROGRAMS_FOLDER / "t0001.pt2").write_text("of who has left the front")

    make_programs(tmp_path, [], lambda trial, seconds: None, quiet(), "again")

    assert [path.name for path in (tmp_path / PROGRAMS_FOLDER).iterdir()] == [".ipynb_checkpoints"]
