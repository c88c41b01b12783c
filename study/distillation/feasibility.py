"""Whether a method can work with a teacher and a student at all, before either is trained.

Networks are built without numbers (on torch's meta device), so that a ResNet-50 costs a fraction
of a second. Imports of torch are in the functions: the error is named where torch is not loaded.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from study.distillation.methods import FeatureTaps
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
    """

    build_student: Callable[[Mapping[str, Any], int, Shape], "nn.Module"]
    teacher: "TeacherRecipe | None"
    num_classes: int
    shape: Shape
    teacher_asked_live: bool


def check_methods(configurations: Iterable[tuple[str, Mapping[str, Any]]], of: Networks) -> None:
    """Refuse a method that cannot be built, cannot ask its teacher, or taps what is not there.

    Args:
        configurations: The student's name and the trial's parameters; students of one name are
            one architecture and are built once for each choice of taps.
        of: The networks.

    Raises:
        InfeasibleError: For the first configuration that cannot work.
    """
    from study.distillation import methods
    from study.distillation.taps import TapError

    seen = set()
    targets: dict[tuple[str, ...], Features] = {}
    for student, params in configurations:
        try:
            method = methods.build({**params, "classes": of.num_classes})
        except methods.MethodError as error:
            raise InfeasibleError(str(error)) from None
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
        taps = method.taps
        if taps is None or (student, taps) in seen:
            continue
        seen.add((student, taps))
        try:
            if taps.teacher not in targets:
                targets[taps.teacher] = _features_of_teacher(of, taps.teacher)
            own = _features_of_student(of, taps.student, student, params)
        except TapError as error:
            raise InfeasibleError(str(error)) from None
        if own is not None:
            _check_shapes(taps, student, own, targets[taps.teacher])


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

    return _features(build, names, f"the teacher {recipe.title}", of.shape, "meta")


def _features_of_student(
    of: Networks, names: tuple[str, ...], student: str, params: Mapping[str, Any]
) -> Features | None:
    """Shapes of the student's features; None if it cannot be built: its trials will say why."""
    from study.distillation.taps import TapError

    def build() -> "nn.Module":
        return of.build_student(params, of.num_classes, of.shape)

    # A network of the user's own may want to see numbers, which the meta device has not.
    for device in ("meta", "cpu"):
        try:
            return _features(build, names, f"the student {student}", of.shape, device)
        except TapError:
            raise
        except Exception:
            continue
    return None


def _features(
    build: Callable[[], "nn.Module"],
    names: tuple[str, ...],
    whose: str,
    shape: Shape,
    device: str,
) -> Features:
    """Shapes of what the named modules of a new network put out for one image."""
    import torch

    from study.distillation.taps import Taps

    height, width, channels = shape
    with torch.device(device), torch.no_grad():
        network = build().eval()
        with Taps(network, names, whose) as taps:
            network(torch.zeros(2, channels, height, width))
            return tuple(tuple(feature.shape[1:]) for feature in taps.features())
