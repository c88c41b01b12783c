"""Sections on the search itself: how the front grew, which parameters mattered, and how."""

from collections.abc import Iterable

from analysis.charts.parallel import ParallelInfo
from analysis.charts.progress import ProgressInfo
from analysis.charts.recipe import RecipesInfo
from analysis.charts.slices import SlicesInfo
from analysis.charts.vector import legend, parallel_svg, slice_svg
from analysis.formatting import NBSP, NONE, counted, milliseconds, number, score_text
from analysis.front import front_hypervolume
from analysis.importance import BEST_SHARE, FEWEST_STUDENTS, Importances
from analysis.markup import Cell, Head, Html, join, plain_table, scroll_box, sortable_table, tag
from analysis.record import StudyResults
from analysis.sections.comparisons import section

_GROUPS = {"front": "On the front", "dominated": "Dominated", "control": "No distillation"}


def progress_section(results: StudyResults, info: ProgressInfo | None) -> Html | None:
    """The hypervolume over the epochs spent, as a chart and as a table."""
    if info is None:
        return None
    score, corner = results.plan.space.score, info.reference
    low, high = (
        score_text(corner.val_score, score.unit),
        score_text(corner.best_score, score.unit, 0),
    )
    note = (
        f"The share of the area between the reference point, {low} at "
        f"{milliseconds(corner.latency_ms)} ({score.floor_name} at the latency of the "
        f"{results.plan.space.yardstick}), and {high} at no latency that the front dominates, over "
        "the epochs of all trials that had ended. "
        f"{counted(len(info.steps), 'trial')} moved the front; "
        f"{counted(info.epochs, 'epoch')} {'was' if info.epochs == 1 else 'were'} spent."
    )
    if results.replicated:
        whole = number(front_hypervolume(results.trials, corner), 3)
        note += (
            " Scores are those of first runs here, without controls trained after the search; by "
            f"means over all runs, with them, it is {whole}."
        )
    heads = [Head("Trial", numeric=False), Head("Epochs", "spent"), Head("Hypervolume")]
    rows = [
        [Cell(step.trial), Cell(f"{step.epochs:,}", step.epochs), Cell(number(step.hypervolume, 4))]
        for step in info.steps
    ]
    return section(
        "progress",
        "Hypervolume over epochs spent",
        tag("p", note, class_="note"),
        _chart("progress", f"Hypervolume over epochs, up to {info.steps[-1].hypervolume:.3f}"),
        _folded(
            "The same as a table",
            plain_table("progress-table", "Trials that moved the front", heads, rows),
        ),
    )


def _chart(name: str, label: str) -> Html:
    """The place of a low chart that the page's script draws."""
    place = tag("div", id=f"chart-{name}", class_="chart low", role="img", aria_label=label)
    return tag("figure", place)


def _folded(summary: str, table: Html) -> Html:
    return tag("details", tag("summary", summary), table)


def importance_section(results: StudyResults, info: Importances | None) -> Html | None:
    """The importance of each parameter for each objective, as a table of bars."""
    if info is None:
        if not results.trials:
            return None
        shared = any(trial.trained_with is not None for trial in results.trials)
        of_exits = ", of which exits of one network count as one" if shared else ""
        note = (
            f"Shown once {FEWEST_STUDENTS} students are fully trained{of_exits}, for the "
            "parameters that were searched; fewer students would mostly show chance."
        )
        return section("importance", "What mattered", tag("p", note, class_="note"))
    of_best = f"{100 * BEST_SHARE:.0f}{NBSP}%"
    students, shuffles = counted(info.students, "student"), "shuffles of the objective"
    if info.networks < info.students:
        students += f" of {info.networks:,} networks"
        shuffles += " that keep the exits of a network together"
    note = (
        f"How much each parameter has to do with reaching the best {of_best} in an objective, over "
        f"{students}, by conditional PED-ANOVA (Watanabe et al., 2023). "
        "Shares of a column add to 100. The tick on a bar is what chance gave at most in ten "
        f"{shuffles}: a bar that ends before it is pale and says nothing. By chance one bar in "
        "eleven passes its tick."
    )
    heads = [
        Head("Parameter", numeric=False),
        *(Head(each.objective.label, "%") for each in info.objectives),
    ]
    heads = [head._replace(title=_capital(head.title)) for head in heads]
    rows = []
    for name in info.parameters:
        cells = [Cell(name)]
        for each in info.objectives:
            share, chance = each.shares.get(name, 0.0), each.chance.get(name, 0.0)
            cells.append(Cell(_bar(share, chance), share, "bars"))
        rows.append(cells)
    return section(
        "importance",
        "What mattered",
        tag("p", note, class_="note"),
        tag("div", sortable_table("importance-table", "Importance of parameters", heads, rows),
            class_="importance"),
    )  # fmt: skip


def _capital(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}"


def _bar(share: float, chance: float) -> Html:
    sure = "" if share > chance else " pale"
    shown = f"{100 * share:.0f}" if share >= 0.005 else "0"
    fill = Html(
        f'<span class="meter{sure}" aria-hidden="true"><i style="width:{100 * share:.1f}%"></i>'
        f'<b style="left:{min(100 * chance, 100):.1f}%"></b></span>'
    )
    return join([fill, tag("span", shown, class_="share")])


def slices_section(results: StudyResults, info: SlicesInfo | None) -> Html | None:
    """The score over each parameter by itself."""
    if info is None:
        return None
    score = results.plan.space.score
    panels = []
    for each in info.slices:
        name = each.scale.name
        label = f"Validation {score.name} over {name} of {counted(len(each.points), 'student')}"
        under = f"not used by {each.without}" if each.without else None
        heading = tag("h3", name, tag("small", f" {under}") if under else None)
        panels.append(tag("div", heading, slice_svg(each, info.score, label), class_="slice"))
    groups = {point.group for each in info.slices for point in each.points}
    note = (
        f"Validation {score.name} ({score.unit}) of every fully trained student over one parameter "
        f"at a time{', the most important first' if info.by_importance else ''}. The numbers are "
        "in the table of all trials."
    )
    return section(
        "slices",
        "Slices",
        tag("p", note, class_="note"),
        _legend(groups),
        tag("figure", *panels, class_="slices"),
    )


def recipes_section(results: StudyResults, info: RecipesInfo | None) -> Html | None:
    """The map of temperature and alpha, and its five best as a table."""
    if info is None:
        return None
    score = results.plan.space.score
    best = sorted(info.recipes, key=lambda each: -each.val_score)[:5]
    heads = [
        Head("Trial", numeric=False),
        Head("T"),
        Head("α"),
        Head("Validation", score.unit),
        Head("On the front", numeric=False),
    ]
    rows = [
        [
            Cell(each.trial),
            Cell(f"{each.temperature:.3g}", each.temperature),
            Cell(f"{each.alpha:.2g}", each.alpha),
            Cell(number(each.val_score, 2), each.val_score),
            Cell("yes" if each.on_front else NONE),
        ]
        for each in best
    ]
    note = (
        f"{counted(len(info.recipes), 'distilled student')} by the temperature and the weight of "
        f"the teacher they were taught with: the darker and larger, the better the {score.name} "
        "(in dark colours: the brighter). Circles with a rim are on the front. Students differ in "
        "size too, which moves the score more than the recipe may."
    )
    return section(
        "recipes",
        "Temperature and α",
        tag("p", note, class_="note"),
        _chart("recipes", f"{score.title} over temperature and alpha"),
        _folded(
            f"The {len(rows)} best as a table",
            plain_table("recipes-table", f"The {len(rows)} best recipes", heads, rows),
        ),
    )


def parallel_section(results: StudyResults, info: ParallelInfo | None) -> Html | None:
    """Parallel coordinates of all fully trained students."""
    if info is None:
        return None
    note = (
        "A line a fully trained student, across its parameters to its score and its latency; "
        "where a parameter does not apply, it passes below the axis. Point at a line of the front "
        "or of a control to see whose it is, click it to mark its trial."
    )
    if info.left_out:
        note += f" {counted(info.left_out, 'more parameter')} had no room."
    label = f"Parameters, score and latency of {counted(len(info.lines), 'student')}"
    return section(
        "parallel",
        "Parallel coordinates",
        tag("p", note, class_="note"),
        _legend({line.group for line in info.lines}, lines=True),
        tag("figure", scroll_box(parallel_svg(info, label), label), class_="parallel"),
    )


def _legend(groups: Iterable[str], *, lines: bool = False) -> Html:
    known = set(groups)
    shown = [(group, name) for group, name in _GROUPS.items() if group in known]
    return legend(shown, lines=lines)
