"""How another study differs from this one: what a person is told when its trials are taken over."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.formatting import score_text
from analysis.stored_plan import Parameter
from search_spaces.parameters import parameter_json
from search_spaces.space import SearchSpace
from study.plan import StudyPlan
from study.teacher_choice import teacher_recipe

if TYPE_CHECKING:
    from study.earlier_reading import Source
    from study.warm_start import EarlierTrial

_SHOWN = 3


def of_scores(
    source: "Source", trials: "Sequence[EarlierTrial]", plan: StudyPlan, space: SearchSpace
) -> list[str]:
    """Say in a clause each why scores there cannot be compared with scores here.

    Whether the images are the same is known later: see :meth:`study.warm_start.Earlier.on`.

    Args:
        source: Where the trials come from.
        trials: Those that fit, as configurations of the space here.
        plan: The plan here.
        space: The space here.
    """
    found, score = [], space.score
    if source.score is None:
        highest = max(trial.score for trial in trials)
        if highest > score.best:
            best = score_text(score.best, score.unit)
            found.append(f"its scores go up to {highest:g}, here {score.name} ends at {best}")
    elif source.score != (score.name, score.unit):
        name, unit = source.score
        found.append(f"its score is {name} ({unit}), here {score.name} ({score.unit})")
    pairs = [(trial.epochs, space.epochs_of(trial.params, plan.max_epochs)) for trial in trials]
    odd = [(there, here) for there, here in pairs if there != here]
    if odd:
        there, here = (_span(epochs) for epochs in zip(*odd, strict=True))
        found.append(f"its students trained {there} epochs, here {here}")
    if not source.is_table and source.train_per_class != plan.train_per_class:
        from_there, from_here = (
            "all images" if count is None else f"{count} images of each class"
            for count in (source.train_per_class, plan.train_per_class)
        )
        found.append(f"its students learnt from {from_there}, here from {from_here}")
    return found


def _span(numbers: Iterable[int]) -> str:
    least, *_, most = sorted([*numbers] * 2)
    return f"{least}" if least == most else f"{least} to {most}"


def of_values(source: "Source", space: SearchSpace) -> list[str]:
    """Say which parameters could have other values there, or were there under other conditions.

    The first are told with their values, any others by name. A table knows none.
    """
    there = {parameter.name: parameter for parameter in source.declared}
    found = []
    for parameter in space.parameters:
        here = Parameter.from_json(parameter_json(parameter))
        if here.name not in there:
            continue
        other = there[here.name]
        if _can_be(other) != _can_be(here):
            found.append((here.name, f"{here.name} was {_shown(other)}, here {_shown(here)}"))
    lines = [line for _, line in found[:_SHOWN]]
    rest = ", ".join(name for name, _ in found[_SHOWN:])
    return [*lines, *([f"other values there, too: {rest}"] if rest else [])]


def _can_be(parameter: Parameter) -> tuple[object, ...]:
    """What two parameters of one name are told apart by: values and condition, in no order."""
    when = parameter.when
    condition = None if when is None else (when.parameter, frozenset(map(_one, when.values)))
    if parameter.searched and parameter.choices is not None:
        return frozenset(map(_one, parameter.choices)), condition
    return _values(parameter), condition


def _shown(parameter: Parameter) -> str:
    when = parameter.when
    if when is None:
        return _values(parameter)
    return f"{_values(parameter)} with {when.parameter} {' or '.join(map(_one, when.values))}"


def _values(parameter: Parameter) -> str:
    if not parameter.searched:
        return f"held at {_one(parameter.default)}"
    if parameter.choices is not None:
        return f"one of {', '.join(map(_one, parameter.choices))}"
    return f"{parameter.low:g} to {parameter.high:g}"


def _one(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def held_as(parameters: Iterable[Parameter], held: "dict[str, object]") -> tuple[Parameter, ...]:
    """Return stored parameters, those that a plan of an earlier version held marked as held."""
    return tuple(
        replace(each, searched=False, default=held[each.name]) if each.name in held else each
        for each in parameters
    )


def of_teacher(source: "Source", plan: StudyPlan, space: SearchSpace) -> str | None:
    """Say that another teacher taught there, as far as that is known before the data are read.

    A teacher by checkpoint is known by its weights, so two of them are compared later: see
    :meth:`study.warm_start.Earlier.on`.
    """
    if source.taught is not None and source.taught != space.taught:
        return "it had no teacher" if space.taught else "it had a teacher, here there is none"
    if source.teacher is None or (source.by_checkpoint and plan.teacher is not None):
        return None
    here = _teacher_here(plan, space)
    return None if source.teacher == here else f"its teacher was {source.teacher}, here {here}"


def teacher_text(name: str, epochs: int, seed: object) -> str:
    """Name a teacher that a study trained, by what tells two of them apart."""
    return f"{name} ({epochs} {'epoch' if epochs == 1 else 'epochs'}, seed {seed})"


def _teacher_here(plan: StudyPlan, space: SearchSpace) -> str:
    if plan.teacher is not None:
        return plan.teacher
    recipe = teacher_recipe(plan, space, Path(plan.data).name or "data")
    return teacher_text(recipe.title, recipe.epochs, plan.seed)


def unknown(source: "Source") -> list[str]:
    """Say what a table leaves open, and where it is to be had."""
    if not source.is_table:
        return []
    return [
        "a table has no curves, and does not tell whether data, score, teacher and the values to "
        "choose from were those here: name the study itself, where it is at hand"
    ]
