"""Methods of one's own on their way to a worker, and in its trials."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray import cloudpickle
from torch import Tensor

from search_spaces.catalogue import load_space
from search_spaces.space import SearchSpace
from study.distillation.image_data import Augmentation, Split, assemble
from study.distillation.teacher_recipe import TeacherRecipe
from study.runner import _ship_files
from study.trial import StudentTrial
from study.trial_context import TrialContext, TrialTask
from study.trial_teacher import TeacherVariant

REPOSITORY = Path(__file__).parents[3]
README = (REPOSITORY / "search_spaces" / "README.md").read_text()
(EXAMPLE,) = re.findall(r"```python\n(# my_space\.py\n.*?)```", README, flags=re.DOTALL)


@pytest.fixture(params=["in the space's file", "in a file beside it"])
def space(request: pytest.FixtureRequest, tmp_path: Path) -> SearchSpace:
    """The space of README, its method in either place; the files are gone once it is read."""
    text = EXAMPLE
    if request.param == "in a file beside it":
        (tmp_path / "my_methods.py").write_text("import torch\n" + EXAMPLE)
        text = EXAMPLE.replace(
            'methods={"similarity": SimilarityPreserving}',
            'methods={"similarity": "my_methods:SimilarityPreserving"}',
        )
        assert text != EXAMPLE
    (tmp_path / "my_space.py").write_text(text)
    loaded = load_space(str(tmp_path / "my_space.py"))
    for path in tmp_path.glob("*.py"):
        path.unlink()
    return loaded


def context_of(space: SearchSpace, folder: Path) -> TrialContext:
    generator = np.random.default_rng(0)

    def split(count: int) -> Split:
        images = generator.integers(0, 255, (count, 8, 8, 1), dtype=np.uint8)
        return Split(images, np.arange(count, dtype=np.int64) % 3)

    data = assemble(
        *("tiny", ("a", "b", "c"), split(150), split(20)),
        validation_fraction=0.2,
        augmentation=Augmentation(1, False),
        source="made here",
    )
    outputs = generator.normal(size=(2, len(data.train), 3)).astype(np.float16)
    return TrialContext(
        space=space,
        data=data,
        reduced_rows={},
        teacher=TeacherVariant(TeacherRecipe(depths=(1, 1, 1, 1), epochs=0), outputs),
        teacher_ms=10.0,
        folder=str(folder),
        epochs=3,
        views=2,
        seed=0,
        precision="float32",
        threads=1,
        on_gpu=False,
    )


def curve(trial: StudentTrial, steps: int = 9) -> list[tuple[int, float, float]]:
    found: list[tuple[int, float, float]] = []
    for _ in range(steps):
        report: dict[str, Any] = trial.advance()
        assert "failure" not in report, report["failure"]
        found += [(e["epoch"], e["train_loss"], e["val_loss"]) for e in report.get("curve", [])]
        if report["done"]:
            break
    trial.close()
    return found


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Size and latency as the record has them, so that tests need not measure again."""
    folder = tmp_path_factory.mktemp("known")
    (folder / "my_space.py").write_text(EXAMPLE)
    context = context_of(load_space(str(folder / "my_space.py")), folder)
    params = context.space.complete({"width": 16})
    first = StudentTrial(TrialTask(0, params, False), context).advance()
    return {"model": first["model"], "latency": first["latency"]}


def task(space: SearchSpace, number: int, known: dict[str, Any], **overrides: Any) -> TrialTask:
    return TrialTask(number, space.complete({"width": 16, **overrides}), False, **known)


def test_a_worker_elsewhere_that_has_none_of_the_files_makes_the_method(
    space: SearchSpace, tmp_path: Path
) -> None:
    _ship_files()
    shipped = tmp_path / "space.pickle"
    shipped.write_bytes(cloudpickle.dumps(space))
    script = (
        "import pickle, sys, torch\n"
        f"space = pickle.load(open({str(shipped)!r}, 'rb'))\n"
        "from study.distillation.methods import Answers, build\n"
        "method = build(space.complete({}), space.methods)\n"
        "logits = torch.eye(2)\n"
        "print(method.loss(Answers(logits, torch.arange(2), -logits))['alike'].item())\n"
        "print(space.describe(space.complete({})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd="/",
        env={"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["0.0", "2 x 16"]


def test_a_trial_learns_by_the_method_and_an_interrupted_one_goes_on_where_it_was(
    space: SearchSpace, known: dict[str, Any], tmp_path: Path
) -> None:
    context = context_of(space, tmp_path / "study")
    whole = curve(StudentTrial(task(space, 0, known), context))
    assert curve(StudentTrial(task(space, 1, known), context), steps=2) == whole[:1]
    assert curve(StudentTrial(task(space, 1, known), context)) == whole

    control = curve(StudentTrial(task(space, 2, known, method="none"), context))
    assert [epoch for epoch, *_ in whole] == [1, 2, 3]
    assert all(ours[1] > plain[1] for ours, plain in zip(whole, control, strict=True))


def test_a_trial_whose_method_is_broken_fails_alone_and_says_why(
    known: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "my_space.py"
    path.write_text(EXAMPLE.replace('params["weight"]', 'params["wieght"]'))
    context = context_of(load_space(str(path)), tmp_path / "study")
    report = StudentTrial(task(context.space, 0, known), context).advance()
    assert report["done"]
    assert "my_space.py, line" in report["failure"]
    assert "KeyError: 'wieght'" in report["failure"]


# The example's loss.


def similarity_loss(student: Tensor, teacher: Tensor) -> Tensor:
    names: dict[str, Any] = {}
    exec(EXAMPLE, names)
    loss: Tensor = names["similarity_loss"](student, teacher)
    return loss


def test_the_loss_in_readme_by_hand() -> None:
    # G of the student: rows (1, 0), (0, 4), so normalised the identity; of the teacher: rows
    # (25, 25), (25, 25), normalised all 1/√2. The squares: 2 (1 - 1/√2)² + 2 / 2, over 2².
    student = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    teacher = torch.tensor([[3.0, 4.0], [3.0, 4.0]])
    expected = (2 * (1 - 0.5**0.5) ** 2 + 1) / 4
    assert similarity_loss(student, teacher).item() == pytest.approx(expected, rel=1e-6)


def test_the_loss_in_readme_is_the_paper_s_written_image_by_image() -> None:
    """Tung and Mori (2019): G̃ = Q Qᵀ, G its rows over their norms, ‖G_T - G_S‖²_F / b²."""
    generator = np.random.default_rng(0)
    student, teacher = generator.normal(size=(6, 3)), generator.normal(size=(6, 5))

    def similarities(rows: Any) -> Any:
        table = np.array([[a @ b for b in rows] for a in rows])
        return np.array([row / np.sqrt((row**2).sum()) for row in table])

    expected = ((similarities(teacher) - similarities(student)) ** 2).sum() / 36
    found = similarity_loss(torch.from_numpy(student), torch.from_numpy(teacher))
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_the_loss_in_readme_sees_neither_size_nor_rotation_and_has_the_right_gradient() -> None:
    draws = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 5, 4, generator=draws, dtype=torch.float64)
    turned = torch.linalg.qr(torch.randn(4, 4, generator=draws, dtype=torch.float64)).Q
    assert similarity_loss(student, 3 * student @ turned).item() == pytest.approx(0, abs=1e-12)
    assert similarity_loss(student, teacher).item() > 1e-3
    assert torch.autograd.gradcheck(
        lambda rows: similarity_loss(rows, teacher), (student.requires_grad_(),)
    )
