"""Whether a method can work with a teacher and a student at all, before either is trained.

Networks are built without numbers (on torch's meta device), so that a ResNet-50 costs a fraction
of a second. Imports of torch are in the functions: the error is named where torch is not loaded.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.distillation.users_code import users_line

if TYPE_CHECKING:
    from torch import nn

    from study.distillation.methods import FeatureTaps
    from study.distillation.methods.own import Declared
    from study.distillation.teacher_recipe import TeacherRecipe

Shape = tuple[int, int, int]
Features = tuple[tuple[int, ...], ...]


class InfeasibleError(ValueError):
    """A configuration that no training can follow; the message names the value and the mend."""


@dataclass(frozen=True)
class Networks:
    """What is to be taught by whom.

    Attributes:
        build_student: `(params, num_classes, shape) -> torch.nn.Module`.
        teacher: The teacher's recipe; None where nobody teaches.
        num_classes: Of the data.
        shape: `(h, w, c)` of an image.
        teacher_asked_live: Whether trials have the teacher's network, not its answers alone.
        own_methods: Methods that the space declares, by name.
    """

    build_student: Callable[[Mapping[str, Any], int, Shape], "nn.Module"]
    teacher: "TeacherRecipe | None"
    num_classes: int
    shape: Shape
    teacher_asked_live: bool
    own_methods: "Mapping[str, Declared]" = field(default_factory=dict)


def check_methods(configurations: Iterable[tuple[str, Mapping[str, Any]]], of: Networks) -> None:
    """Refuse a method that cannot be built, cannot ask its teacher, or taps what is not there.

    Methods of one's own are also given a batch of made-up answers.

    Args:
        configurations: The student's name and the trial's parameters; students of one name are
            one architecture and are built once for each choice of taps.
        of: The networks.

    Raises:
        InfeasibleError: For the first configuration that cannot work.
    """
    from study.distillation.methods import MethodError
    from study.distillation.taps import TapError

    maps = _Maps(of)
    for student, params in configurations:
        try:
            _check_method(student, params, of, maps)
        except (MethodError, TapError) as error:
            raise InfeasibleError(str(error)) from None


def check_students(configurations: Iterable[tuple[str, Mapping[str, Any]]], of: Networks) -> None:
    """Refuse a space of which no student can be built, or the first of those answers no classes.

    Where some can be, the trials of the others say why they cannot.

    Args:
        configurations: The student's name and the trial's parameters.
        of: The networks; the teacher is not looked at.

    Raises:
        InfeasibleError: Naming file and line of what fails, or what a student answers.
    """
    first: Exception | None = None
    for student, params in configurations:
        try:
            answers, _ = _pass_of_student(of, (), student, params)
        except Exception as error:
            first = first or error
            continue
        if len(answers) == 1 and answers[0] % of.num_classes:
            raise InfeasibleError(
                f"the student {student} answers {answers[0]} numbers for an image, and the data "
                f"has {of.num_classes} classes; build_student is given how many"
            )
        return
    if first is not None:
        raise InfeasibleError(
            f"no student can be built, {where_it_failed(first)}; mend build_student"
        )


def where_it_failed(error: Exception) -> str:
    """File and line in which a user's code, or what it called, failed, and how."""
    import torch

    line = users_line(
        error, (f"{Path(__file__).parents[1]}{os.sep}", str(Path(torch.__file__).parent))
    )
    said = str(error).splitlines()[0] if str(error) else ""
    where = "" if line is None else f"{Path(line.filename).name}, line {line.lineno}: "
    return f"{where}{type(error).__name__}: {said}"


def _check_method(student: str, params: Mapping[str, Any], of: Networks, maps: "_Maps") -> None:
    from study.distillation import methods
    from study.distillation.methods.own import rehearse

    method = methods.build({**params, "classes": of.num_classes}, of.own_methods)
    if method.needs_teacher and of.teacher is None:
        raise InfeasibleError(
            f"the method {method.name} asks a teacher, and the space declares none; "
            "declare one in teachers"
        )
    if method.needs_network and not of.teacher_asked_live:
        raise InfeasibleError(
            f"the method {method.name} asks the teacher's network at every step, and only its "
            'answers would be there; declare teacher_asked="both" in the space'
        )
    _check_transfer(of, params)
    features = () if method.taps is None else maps.compared(method.taps, student, params)
    name = params.get("method")
    if name not in of.own_methods or features is None:
        return
    # On answers of the student's shape, where those are of classes.
    if maps.answers(student, params) == (of.num_classes,):
        rehearse(str(name), method, of.num_classes, features)


class _Maps:
    """What networks put out: each is asked once, for each choice of taps."""

    def __init__(self, of: Networks) -> None:
        self._of = of
        self._targets: dict[tuple[str, ...], Features] = {}
        self._compared: dict[tuple[str, FeatureTaps], Features | None] = {}
        self._answers: dict[str, tuple[int, ...] | None] = {}

    def answers(self, student: str, params: Mapping[str, Any]) -> tuple[int, ...] | None:
        """Shape of what a student answers for one image; None if it cannot be built."""
        if student not in self._answers:
            passed = _pass_if_built(self._of, (), student, params)
            self._answers[student] = None if passed is None else passed[0]
        return self._answers[student]

    def compared(
        self, taps: "FeatureTaps", student: str, params: Mapping[str, Any]
    ) -> Features | None:
        """Shapes in which two networks' maps are compared; None if no student can be built.

        Raises:
            TapError: One of the networks has no such module.
            InfeasibleError: The maps cannot be brought to one shape.
        """
        if (student, taps) not in self._compared:
            if taps.teacher and taps.teacher not in self._targets:
                self._targets[taps.teacher] = _features_of_teacher(self._of, taps.teacher)
            own = _features_of_student(self._of, taps.student, student, params)
            # A student's own maps, without a teacher's beside them, are compared by the method.
            targets = self._targets.get(taps.teacher, ())
            if own is not None and taps.teacher:
                _check_shapes(taps, student, own, targets)
                own = own if taps.direction == "teacher-to-student" else targets
            self._compared[student, taps] = own
        return self._compared[student, taps]


def _check_transfer(of: Networks, params: Mapping[str, Any]) -> None:
    import torch

    from study.distillation.transfer import TransferError, learning_modules, transfer_of

    try:
        transfer = transfer_of(params)
        if transfer.freezes:
            with torch.device("meta"):
                student = of.build_student(params, of.num_classes, of.shape)
            for part in {"fc", transfer.unfreeze}:
                learning_modules(student, part)
    except TransferError as error:
        raise InfeasibleError(f"students: {error}") from None


def _check_shapes(taps: "FeatureTaps", student: str, own: Features, targets: Features) -> None:
    import torch

    from study.distillation.projectors import Projector

    for mine, theirs, source, target in zip(taps.student, taps.teacher, own, targets, strict=True):
        try:
            with torch.device("meta"):
                Projector(source, target)
        except ValueError as error:
            raise InfeasibleError(
                f"module {mine} of the student {student} and {theirs} of the teacher cannot be "
                f"compared: {error}"
            ) from None


def _features_of_teacher(of: Networks, names: tuple[str, ...]) -> Features:
    from study.distillation.teacher_network import build_network

    recipe = of.teacher
    assert recipe is not None

    def build() -> "nn.Module":
        return build_network(recipe, of.num_classes, of.shape)

    return _pass(build, names, f"the teacher {recipe.title}", of.shape, "meta")[1]


def _features_of_student(
    of: Networks, names: tuple[str, ...], student: str, params: Mapping[str, Any]
) -> Features | None:
    """Shapes of the student's features; None if it cannot be built: its trials will say why."""
    passed = _pass_if_built(of, names, student, params)
    return None if passed is None else passed[1]


def _pass_if_built(
    of: Networks, names: tuple[str, ...], student: str, params: Mapping[str, Any]
) -> tuple[tuple[int, ...], Features] | None:
    from study.distillation.taps import TapError

    try:
        return _pass_of_student(of, names, student, params)
    except TapError:
        raise
    except Exception:
        return None


def _pass_of_student(
    of: Networks, names: tuple[str, ...], student: str, params: Mapping[str, Any]
) -> tuple[tuple[int, ...], Features]:
    """Shapes of a student's answer and of its features; whatever building it raises."""
    from study.distillation.taps import TapError

    def build() -> "nn.Module":
        return of.build_student(params, of.num_classes, of.shape)

    whose = f"the student {student}"
    try:
        return _pass(build, names, whose, of.shape, "meta")
    except TapError:
        raise
    except Exception:
        # A network of the user's own may want to see numbers, which the meta device has not.
        return _pass(build, names, whose, of.shape, "cpu")


def _pass(
    build: Callable[[], "nn.Module"],
    names: tuple[str, ...],
    whose: str,
    shape: Shape,
    device: str,
) -> tuple[tuple[int, ...], Features]:
    """Shapes of what a new network, and its named modules, put out for one image."""
    import torch

    from study.distillation.taps import Taps

    height, width, channels = shape
    with torch.device(device), torch.no_grad():
        network = build().eval()
        with Taps(network, names, whose) as taps:
            answers = network(torch.zeros(2, channels, height, width))
            features = tuple(tuple(feature.shape[1:]) for feature in taps.features())
            return tuple(answers.shape[1:]), features
