"""Methods of one's own: what is asked of them, and how what is wrong with them is said."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search_spaces.own_methods import FileMethod
from study.distillation.feasibility import InfeasibleError, Networks, check_methods
from study.distillation.methods import METHODS, Answers, FeatureTaps, MethodError, build
from study.distillation.methods.own import rehearse
from study.distillation.teacher_recipe import TeacherRecipe

HEAD = """\
import torch
from torch.nn.functional import cross_entropy, relu

class Margin:
    name, needs_teacher, needs_network, taps = "margin", True, False, None

    def __init__(self, params):
        self.margin = float(params["margin"])

    def at(self, epoch, epochs):
        return self

    def loss(self, answers):
"""
LOSS = """\
        apart = (answers.logits - answers.teacher_logits).abs() - self.margin
        return {"loss": cross_entropy(answers.logits, answers.labels) + relu(apart).mean()}
"""
PARAMS = {"method": "margin", "margin": 0.5}


def in_file(text: str = HEAD + LOSS, attribute: str = "Margin") -> FileMethod:
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return FileMethod(f"my_methods:{attribute}", "/not/here/my_methods.py", digest, text)


def students(params: Mapping[str, Any], classes: int, shape: tuple[int, int, int]) -> nn.Module:
    pixels = shape[0] * shape[1] * shape[2]
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes))


def check(declared: Any, name: str = "margin", live: bool = False, **params: Any) -> None:
    networks = Networks(
        students, TeacherRecipe(depths=(1, 1, 1, 1)), 3, (8, 8, 1), live, {name: declared}
    )
    check_methods([("8", {**PARAMS, "method": name, **params})], networks)


def test_a_method_of_a_file_that_is_not_here_judges_a_batch_as_it_says() -> None:
    method = build(PARAMS, {"margin": in_file()})
    student = torch.zeros(2, 3)
    teacher = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.4, -1.0]])
    loss = method.loss(Answers(student, torch.tensor([0, 1]), teacher))["loss"]
    # ln 3 of the labels; of the margins 1.5 and 0.5, over six numbers.
    assert loss.item() == pytest.approx(torch.log(torch.tensor(3.0)).item() + 2 / 6)
    check(in_file())


def test_a_module_that_is_installed_is_imported_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "installed_methods.py").write_text(HEAD + LOSS)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert build(PARAMS, {"margin": "installed_methods:Margin"}).name == "margin"
    check("installed_methods:Margin")


def test_a_name_that_is_neither_built_in_nor_declared_is_told_the_nearest() -> None:
    with pytest.raises(MethodError, match=r"no method 'margn'; did you mean margin\?"):
        build({"method": "margn"}, {"margin": in_file()})
    with pytest.raises(MethodError, match=r"no method 'respons'; did you mean response\?"):
        build({"method": "respons"})
    with pytest.raises(MethodError, match=r"no method 'xyz'; choose none, response, .*, margin"):
        build({"method": "xyz"}, {"margin": in_file()})


@pytest.mark.parametrize("name", METHODS)
def test_a_built_in_name_cannot_be_declared_again(name: str) -> None:
    with pytest.raises(InfeasibleError, match=f"a method '{name}', which is built in; give it"):
        check(in_file(), name)


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        (
            in_file("import torch\nimport torhc\n"),
            r"method margin: my_methods:Margin \(/not/here/my_methods.py\) cannot be imported: "
            r"/not/here/my_methods.py, line 2: ModuleNotFoundError: No module named 'torhc'",
        ),
        (
            in_file("x = 1\nclass Margin:\n    def loss(self answers): pass\n"),
            r"/not/here/my_methods.py, line 3: SyntaxError: invalid syntax",
        ),
        (
            in_file(
                "def f():\n    import torch\n    return torch.zeros(2) @ torch.zeros(3)\nf()\n"
            ),
            r"/not/here/my_methods.py, line 3: RuntimeError: inconsistent",
        ),
        (
            in_file("raise MemoryError\n"),
            r"/not/here/my_methods.py, line 1: MemoryError",
        ),
        (in_file("x = 1\n"), "my_methods.py defines no function or class Margin"),
        (in_file("Margin = 1\n"), "my_methods.py defines no function or class Margin"),
        (
            "no_such_methods:Margin",
            r"no_such_methods:Margin cannot be imported: ModuleNotFoundError: .*; put "
            r"no_such_methods.py beside the space's file, or install it where workers run",
        ),
        ("json:Margin", "json defines no function or class Margin"),
    ],
)
def test_a_method_that_cannot_be_imported_is_named_with_file_and_line(
    declared: Any, words: str
) -> None:
    for _ in range(2):  # nothing half made is left for a second try
        with pytest.raises(InfeasibleError, match=words):
            check(declared)


def test_a_method_that_cannot_be_made_is_named_with_file_and_line() -> None:
    line = (HEAD + LOSS).splitlines().index('        self.margin = float(params["margin"])') + 1
    with pytest.raises(InfeasibleError, match=f"cannot be made: .*, line {line}: ValueError: .*x"):
        check(in_file(), margin="x")
    with pytest.raises(InfeasibleError, match="cannot be made: TypeError"):
        check(lambda: None)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("def at", "def now", "a Margin lacks at; the protocol is Method in study.distillation"),
        ('name, needs_teacher, needs_network, taps = "margin", True, False, None', "pass",
         "a Margin lacks name, needs_teacher, needs_network, taps;"),
        ("def loss", "loss = 1\n    def lose", "at and loss of a Margin must be functions"),
        ("True, False, None", "1, False, None", "needs_teacher is 1, neither True nor False"),
        ("True, False, None", "True, False, 'layer4'", "taps is 'layer4', neither None nor"),
    ],
)  # fmt: skip
def test_what_a_method_lacks_is_named(old: str, new: str, words: str) -> None:
    text = (HEAD + LOSS).replace(old, new)
    assert text != HEAD + LOSS
    with pytest.raises(InfeasibleError, match=words):
        check(in_file(text))


def test_a_function_that_returns_no_method_is_named() -> None:
    with pytest.raises(InfeasibleError, match="margin: None lacks name, needs_teacher"):
        check(lambda params: None)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ("        return answers.logits.mean()\n", "returns a Tensor, not a dict of tensors"),
        ("        pass\n", "returns None, not a dict of tensors with the total as \"loss\""),
        ("        return {'total': answers.logits.mean()}\n", "a dict of 'total' without the"),
        ("        return {'loss': 1.0}\n", "returns a float as 'loss', not a tensor of one number"),
        ("        return {'loss': answers.logits.mean(1)}\n", "as 'loss', not a tensor of one"),
        ("        return {'loss': answers.teacher_logits.mean()}\n", '"loss" without a gradient'),
        ("        return {'loss': answers.teacher_logit.mean()}\n",
         r"fails on a batch of 4: /not/here/my_methods.py, line 14: AttributeError: .*teacher_log"),
        ("        return {'loss': answers.logits @ answers.logits}\n", "line 14: RuntimeError: "),
    ],
)  # fmt: skip
def test_a_loss_that_nobody_can_learn_from_is_found_before_anything_is_trained(
    loss: str, words: str
) -> None:
    with pytest.raises(InfeasibleError, match=words):
        check(in_file(HEAD + loss))


def test_a_method_that_asks_for_no_teacher_is_given_none() -> None:
    text = (HEAD + LOSS).replace('"margin", True', '"margin", False')
    with pytest.raises(InfeasibleError, match="line 14: TypeError: unsupported operand"):
        check(in_file(text))


class Maps:
    """Compares the maps it is given; `shapes` is what it saw."""

    name, needs_teacher, needs_network = "maps", True, True

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.taps = FeatureTaps((params["tap"],), ("layer4",))

    def at(self, epoch: int, epochs: int) -> "Maps":
        return self

    def loss(self, answers: Answers) -> dict[str, Tensor]:
        (own,), (theirs,) = answers.features, answers.teacher_features
        assert own.shape == theirs.shape
        return {"loss": (own - theirs).square().mean() + 0 * answers.logits.mean()}


class Convolution(nn.Sequential):
    def __init__(self, classes: int) -> None:
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))
        super().__init__(nn.Conv2d(1, 8, 3), *head)


def test_a_method_that_taps_is_held_to_its_taps_and_given_maps_of_one_shape() -> None:
    def networks(live: bool) -> Networks:
        return Networks(
            lambda params, classes, shape: Convolution(classes),
            TeacherRecipe(depths=(1, 1, 1, 1), block="basic"),
            *(3, (32, 32, 1), live),
            {"maps": Maps},
        )

    check_methods([("c", {"method": "maps", "tap": "0"})], networks(True))
    with pytest.raises(InfeasibleError, match='declare teacher_asked="both"'):
        check_methods([("c", {"method": "maps", "tap": "0"})], networks(False))
    with pytest.raises(InfeasibleError, match="the student c has no module 'conv' to tap"):
        check_methods([("c", {"method": "maps", "tap": "conv"})], networks(True))


class OwnMaps(Maps):
    """Looks at the student's maps alone."""

    needs_teacher, needs_network = False, False

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.taps = FeatureTaps((params["tap"],))

    def loss(self, answers: Answers) -> dict[str, Tensor]:
        (own,) = answers.features
        assert answers.teacher_features == ()
        return {"loss": own.square().mean() + 0 * answers.logits.mean()}


def test_a_method_may_tap_the_student_alone_and_ask_no_teacher() -> None:
    networks = Networks(
        lambda params, classes, shape: Convolution(classes),
        TeacherRecipe(depths=(1, 1, 1, 1), block="basic"),
        *(3, (32, 32, 1), False),
        {"maps": OwnMaps},
    )
    check_methods([("c", {"method": "maps", "tap": "0"})], networks)


def test_a_rehearsal_draws_no_random_numbers_and_leaves_no_gradient_behind() -> None:
    before = torch.get_rng_state()
    rehearse("margin", build(PARAMS, {"margin": in_file()}), 10)
    assert torch.equal(torch.get_rng_state(), before)


def test_built_in_methods_without_signal_on_two_classes_are_refused_before_training() -> None:
    for name in ("dkd", "dist", "logit_std"):
        networks = Networks(students, TeacherRecipe(depths=(1, 1, 1, 1)), 2, (8, 8, 1), False)
        with pytest.raises(InfeasibleError, match=f"{name} has no signal with 2 classes; use the "):
            check_methods([("8", {"method": name})], networks)
