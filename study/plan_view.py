"""Plans and search spaces as a person reads them: lines of a name and a text."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.formatting import duration, score_text, without_password
from search_spaces.space import Choice, Parameter, SearchSpace
from study.budget import Budget
from study.distillation.runtime import RUNTIME_TITLES
from study.mirror import mirror_of, shown
from study.names import TEACHERS_FOLDER
from study.plan import StudyPlan
from study.record import read_plan_file
from study.seed_points import seed_points, teacher_values
from study.tracking.tracker import default_tracking_uri

if TYPE_CHECKING:
    from study.distillation.teacher_recipe import TeacherRecipe
    from study.task import Summary
    from study.warm_start import Earlier

Rows = Sequence[tuple[str, str]]


def plan_rows(
    plan: StudyPlan,
    space: SearchSpace,
    data: "Summary",
    recipe: "TeacherRecipe | None",
    earlier: "Earlier | None" = None,
) -> Rows:
    """Return what was asked, resolved: name and text of each line."""
    rows = [
        ("study", plan.name),
        ("space", f"{space.name}: {space.title}"),
        ("data", str(data)),
    ]
    if plan.train_per_class is not None:
        rows.append(
            ("students", f"learn from the first {plan.train_per_class} images of each class")
        )
    rows += [
        *_teacher_rows(plan, space, data, recipe),
        ("trials", f"{plan.budget.trials}, of at most {_many(plan.max_epochs, 'epoch')}"),
        *budget_rows(plan.budget),
        *_replicate_rows(plan),
        (
            "runtime",
            f"{plan.runtime} ({RUNTIME_TITLES[plan.runtime]}), for latencies; each timed for "
            f"{plan.timing_seconds:g} s at most",
        ),
        ("objectives", ", ".join(f"{o.label}, {o.unit}" for o in space.objectives)),
        ("sampler", plan.sampler),
        ("scheduler", plan.scheduler),
        ("seed", str(plan.seed)),
    ]
    if earlier is not None:
        rows.append(("warm start", "; ".join(earlier.lines)))
    limits = []
    if plan.max_latency_ms is not None:
        limits.append(f"latency at most {plan.max_latency_ms:g} ms")
    if plan.max_params_m is not None:
        limits.append(f"at most {plan.max_params_m:g} M parameters")
    if plan.min_score is not None:
        least = score_text(plan.min_score, space.score.unit, 2)
        limits.append(f"{space.score.name} at least {least}")
    if limits:
        rows.append(("constraints", ", ".join(limits)))
    return rows


def _replicate_rows(plan: StudyPlan) -> Rows:
    if plan.replicates < 2:
        return []
    runs = f"{plan.replicates} runs of the front and its controls, and of those close behind it"
    if plan.fuses_runs:
        runs += ", those of one student as one" + (", where faster" if plan.fuse == "auto" else "")
    return [("replicates", runs)]


def _teacher_rows(
    plan: StudyPlan, space: SearchSpace, data: "Summary", recipe: "TeacherRecipe | None"
) -> Rows:
    if recipe is None:
        return [("teacher", "none; latencies are compared with the default student's")]
    choice = space.teacher_for(data.name)
    why = f" ({choice.why})" if choice.why and recipe.network == choice.network else ""
    weights = ", from ImageNet weights" if recipe.weights else ""
    if recipe.weights and recipe.unfreeze != choice.unfreeze:
        weights += f", all of it unfrozen: it has no {choice.unfreeze}"
    trained = f"{recipe.title}, {_many(recipe.epochs, 'epoch')}{weights}{why}"
    whose = "ImageNet's" if recipe.statistics == "imagenet" else "the data's own"
    own = f"{plan.teacher}, its images normalised by {whose} statistics"
    rows = [("teacher", own if plan.teacher else trained)]
    others = ", ".join(map(str, teacher_values(space, plan.preset, plan.fixed)[1:]))
    if others:
        rows.append(("its variants", f"one teacher each for {space.teacher_varies_with} {others}"))
    views = plan.number_of_views
    asked = "computed once for " + (
        "every crop and flip there is" if views is None else _many(views, "view")
    )
    if plan.teacher_outputs != "ahead":
        asked = "asked live at every step"
    return [*rows, ("its outputs", asked)]


def _many(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def budget_rows(budget: Budget) -> Rows:
    """Return the bounds on time that were set."""
    rows = []
    if budget.seconds is not None:
        rows.append(("budget", f"{duration(budget.seconds)} of wall time"))
    if budget.device_hours is not None:
        rows.append(("device-hours", f"{budget.device_hours:g}, of all trials together"))
    return rows


def seed_rows(plan: StudyPlan, space: SearchSpace) -> Rows:
    """Return label and student of each configuration that is tried first."""
    return [
        (seed.label, space.describe(seed.params))
        for seed in seed_points(space, plan.preset, plan.fixed)
    ]


def where_rows(plan: StudyPlan, studies: Path) -> Rows:
    """Return where everything lies, or would lie."""
    folder = studies / plan.name
    state = "exists; it would be continued" if read_plan_file(folder) else "would be made"
    sent = [("store", f"{shown(studies)}/{plan.name}")] if mirror_of(studies) else []
    return [
        ("study", f"{folder} ({state})"),
        *sent,
        ("record", without_password(plan.storage) if plan.storage else str(folder / "journal.log")),
        ("report", str(folder / "report" / "index.html")),
        ("teachers", str(studies / TEACHERS_FOLDER)),
        ("MLflow", without_password(plan.tracking_uri or default_tracking_uri(studies))),
        ("Ray", plan.address or "a local one, on loopback"),
    ]


def parameter_rows(space: SearchSpace) -> Rows:
    """Return name and description of each parameter, as a tree: conditional ones hang below."""
    roots = [parameter for parameter in space.parameters if parameter.when is None]
    return [row for root in roots for row in _branch(space, root)]


def _branch(space: SearchSpace, parameter: Parameter, lead: str = "", below: str = "") -> Rows:
    """The rows of a parameter and of those that depend on it.

    Args:
        space: The space.
        parameter: The parameter.
        lead: What stands before its name.
        below: What stands before the lines of those that depend on it.
    """
    rows = [(lead + parameter.name, _describe(parameter))]
    children = [c for c in space.parameters if c.when and c.when.parameter == parameter.name]
    for child in children:
        bend, stem = ("└ ", "  ") if child is children[-1] else ("├ ", "│ ")
        rows += _branch(space, child, below + bend, below + stem)
    return rows


def _describe(parameter: Parameter) -> str:
    if isinstance(parameter, Choice):
        values = ", ".join(str(choice) for choice in parameter.choices)
    else:
        scale = ", log" if parameter.log else ""
        values = f"{parameter.low:g} to {parameter.high:g}{scale}"
    if not parameter.searched:
        default = parameter.default
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        values = f"held at {shown}"
    when = parameter.when
    condition = ""
    if when is not None:
        condition = f"; with {when.parameter} {' or '.join(str(v) for v in when.values)}"
    return f"{values}{condition}: {parameter.help}"
