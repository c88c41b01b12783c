"""The first screen of a report: what was asked, what was found, and the front."""

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.charts.axes import AXES, axis_note
from analysis.charts.front_chart import FrontInfo
from analysis.charts.marks import Axis
from analysis.findings import Findings
from analysis.formatting import counted, duration, milliseconds, number, score_text, significant
from analysis.markup import Html, join, tag
from analysis.record import StudyResults
from analysis.replication import RIVAL_PROBABILITY
from analysis.results import searched, trained_alone
from analysis.wording import headlines, how_it_ended

# Glyphs of the chart's key, drawn as the chart draws its marks, in a box of 16 by 16.
_GLYPHS = {
    "front": '<path d="M0 12H5V5H16" class="step"/><circle cx="8" cy="5" r="4.5" class="mark"/>',
    "rival": '<path d="M8 0V16M6 0H10M6 16H10"/><path d="M8 3.5 12.5 8 8 12.5 3.5 8Z"'
    ' class="mark"/>',
    "dominated": '<path d="M8 3.5 12.5 8 8 12.5 3.5 8Z" class="mark"/>',
    "control": '<path d="M8 3 13 8 8 13 3 8Z" class="hollow"/>',
    "stopped": '<path d="M5 5 11 11M11 5 5 11" class="hollow"/>',
    "teacher": '<path d="M8 1 10 6.2 15.6 6.5 11.2 10 12.7 15.4 8 12.3 3.3 15.4 4.8 10 .4 6.5'
    ' 6 6.2Z" class="mark"/>',
    "circle": '<circle cx="8" cy="8" r="5" class="mark"/>',
    "square": '<path d="M3.5 3.5H12.5V12.5H3.5Z" class="mark"/>',
    "triangle-up": '<path d="M8 2.5 14 13H2Z" class="mark"/>',
    "pentagon": '<path d="M8 2.5 13.5 6.5 11.4 13H4.6L2.5 6.5Z" class="mark"/>',
    "cross": '<path d="M6 2.5H10V6H13.5V10H10V13.5H6V10H2.5V6H6Z" class="mark"/>',
    "hexagon": '<path d="M8 2 13.2 5V11L8 14 2.8 11V5Z" class="mark"/>',
    "line-front": '<path d="M0 8H16" class="thick"/>',
    "line-control": '<path d="M0 8H16" class="dashed"/>',
    "line-dominated": '<path d="M0 8H16" class="thin"/>',
    "line-running": '<path d="M0 8H10" class="dashed"/><path d="M10 4.5 16 8 10 11.5Z"'
    ' class="mark"/>',
    "line-stopped": '<path d="M0 8H11" class="thin"/><path d="M8 5 14 11M14 5 8 11"'
    ' class="hollow"/>',
    "line-failed": '<path d="M0 8H10" class="dotted"/><path d="M8 5 14 11M14 5 8 11"'
    ' class="hollow"/>',
}


def header(results: StudyResults) -> Html:
    """Name, space and state of the study."""
    return tag(
        "header",
        tag("p", f"Distillation study · {how_it_ended(results)}", class_="eyebrow"),
        tag("h1", results.name),
        tag("p", results.plan.space.title, class_="lede"),
    )


def asked(results: StudyResults) -> Html:
    """What was asked: space, data, teacher, trials, epochs, budget."""
    plan, data = results.plan.plan, results.plan.data
    entries = [
        ("Space", results.plan.space.name, _space_note(results)),
        ("Data", data.name, _data_note(results)),
        (results.plan.space.yardstick.capitalize(), *_compared_with(results)),
        ("Trials", _asked_count(plan.get("trials")), _trials_note(results)),
        ("Epochs", _asked_count(plan.get("max_epochs")), "at most, each trial"),
        ("Time budget", *_time_budget(plan)),
    ]
    return tag(
        "dl",
        *(
            tag("div", tag("dt", term), tag("dd", tag("strong", value), tag("span", note)))
            for term, value, note in entries
        ),
        class_="asked",
    )


def _asked_count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "not said"


def _time_budget(plan: Mapping[str, Any]) -> tuple[str, str]:
    """The bounds on time that were set, and what they bound."""
    seconds, hours = plan.get("budget_seconds"), plan.get("device_hours")
    bounds = []
    if isinstance(seconds, int | float):
        bounds.append((duration(float(seconds)), "wall time"))
    if isinstance(hours, int | float):
        bounds.append((f"{hours:g} h", "device-hours"))
    if not bounds:
        return "none", "trials set the end"
    values, notes = zip(*bounds, strict=True)
    return " / ".join(values), " / ".join(notes)


def _space_note(results: StudyResults) -> str:
    held = results.plan.held
    free = [each for each in results.plan.space.parameters if each.name not in held]
    searched = counted(len(free), "parameter")
    preset = results.plan.plan.get("preset")
    return f"{searched}, preset {preset}" if preset else searched


def _data_note(results: StudyResults) -> str:
    data = results.plan.data
    sizes = f"{data.train:,} / {data.validation:,} / {data.test:,} train / validation / test"
    if data.student_train != data.train:
        sizes += f"; students see {data.student_train:,}"
    if results.plan.space.of_pairs:
        return f"{sizes}, pairs of images"
    return f"{sizes}, {counted(len(data.classes), 'class', 'classes')}"


def _compared_with(results: StudyResults) -> tuple[str, str]:
    """Name and facts of the teacher, or of the default student where there is none."""
    compared, reference = results.compared_with, results.reference
    if compared is None:
        return "not ready yet", "no student can be compared with it"
    score = results.plan.space.score
    facts = [f"{significant(compared.params_m)} M parameters"]
    if results.teacher is not None:
        reached = score_text(results.teacher.val_score, score.unit)
        facts.insert(0, f"validation {score.name} {reached}")
    if reference is not None:
        facts.append(milliseconds(reference.latency_ms))
    return compared.name, ", ".join(facts)


def _trials_note(results: StudyResults) -> str:
    found = searched(results.trials)
    own = trained_alone(found)
    done = sum(trial.status != "running" for trial in own)
    running = len(own) - done
    note = f"{done:,} ended"
    if len(own) < len(found):
        note += f", and {counted(len(found) - len(own), 'exit')} beside them"
    if running:
        note += f", {running:,} running or interrupted"
    after = [trial for trial in trained_alone(results.trials) if not trial.searched]
    controls = sum(trial.replicate_of is None for trial in after)
    if controls:
        note += f"; then {counted(controls, 'control')}"
    if len(after) > controls:
        note += f"{' and' if controls else '; then'} {counted(len(after) - controls, 'replicate')}"
    return note


def found(results: StudyResults, findings: Findings) -> Html:
    """What was found, in two or three sentences, each under its figure."""
    lines = [
        tag(
            "div",
            tag("h3", line.title),
            tag("p", tag("strong", line.figure), tag("small", line.bound), class_="figure"),
            tag("p", line.sentence),
        )
        for line in headlines(results, findings)
    ]
    return tag("section", tag("h2", "What was found", class_="quiet"), *lines, class_="found")


def key(
    identifier: str,
    entries: Sequence[tuple[str, str, str]],
    colours: Mapping[str, str] | None = None,
) -> Html:
    """The key of a chart: buttons that show and hide a group; entries are (group, glyph, name).

    A glyph has the colour of its group's name, or that which `colours` names for it.
    """
    classes = colours or {}
    buttons = [
        tag(
            "button",
            Html(f'<svg viewBox="0 0 16 16" aria-hidden="true">{_GLYPHS[glyph]}</svg>'),
            tag("span", name),
            type="button",
            class_=f"key {classes.get(group, group)}",
            data_chart=identifier,
            data_group=group,
            aria_pressed="true",
        )
        for group, glyph, name in entries
    ]
    return tag("div", *buttons, class_="keys", role="group", aria_label="Show or hide in the chart")


def _whole_button() -> Html:
    """A button that widens the view of the front chart to every mark."""
    return tag(
        "button",
        "Show all",
        type="button",
        class_="whole",
        data_chart="front",
        aria_pressed="false",
    )


def _axis_switch(axes: Sequence[Axis]) -> Html | None:
    """Buttons of a kind of which one is pressed: what the front is drawn over."""
    if len(axes) < 2:
        return None
    choices = [
        tag(
            "label",
            Html(
                f'<input type="radio" name="axis" value="{axis}"'
                f"{' checked' if axis == 'latency' else ''}>"
            ),
            tag("span", AXES[axis]),
        )
        for axis in axes
    ]
    legend = tag("legend", "Over", class_="unseen")
    return tag("fieldset", legend, *choices, class_="switch")


def front_chart(info: FrontInfo, findings: Findings, axes: Sequence[Axis]) -> Html | None:
    """The front chart, its key and what it takes to read it; None while no trial can be drawn.

    `axes` are what it can be drawn over.
    """
    if not info.marks:
        return None
    shown: set[str] = {mark.group for mark in info.marks if mark.group != "dominated"}
    dominated = [mark for mark in info.marks if mark.group == "dominated"]
    if any(mark.distilled for mark in dominated):
        shown.add("dominated")
    if any(not mark.distilled for mark in dominated) or info.arrows:
        shown.add("control")
    if info.teacher is not None:
        shown.add("teacher")
    names = {
        "front": "Front",
        "rival": "Near rival",
        "dominated": "Dominated",
        "control": "No distillation (hollow)",
        "stopped": "Stopped early",
        "teacher": "Teacher",
    }
    entries = [(group, group, name) for group, name in names.items() if group in shown]
    return tag(
        "figure",
        tag(
            "div",
            key("front", entries),
            tag("div", _whole_button() if info.below_view else None, _axis_switch(axes)),
            class_="controls",
        ),
        tag("div", id="chart-front", class_="chart tall", role="img",
            aria_label=f"{info.space.score.title} over latency of every trial"),
        tag("p", id="picked", class_="picked", role="status"),
        tag(
            "figcaption",
            join([tag("span", axis_note(info, "latency"), id="axis-note"),
                  *_front_notes(info, findings)], " "),
        ),
        class_="main",
    )  # fmt: skip


def _front_notes(info: FrontInfo, findings: Findings) -> list[str]:
    score = info.space.score
    notes = []
    if any(mark.bar is not None for mark in info.marks):
        notes.append(
            "Marks with a bar are means over several runs, the bar their 95\u00a0% interval, with "
            "the deviation from run to run pooled over the study."
        )
    if any(mark.group == "rival" for mark in info.marks):
        notes.append(
            "Near rivals are off the front, and on it with a probability of "
            f"{100 * RIVAL_PROBABILITY:.0f}\u00a0% or more."
        )
    if info.space.third is not None and info.step:
        label = info.space.objectives[2].label
        notes.append(
            f"The front is chosen by {info.space.compared_by}: a member below the line has fewer "
            f"{label} than whoever beats it in {score.name} and latency."
        )
    if info.floor is not None:
        seen = "The dotted line is" if info.floor >= info.view[0] else "Below this view lies"
        notes.append(
            f"{seen} the {score.name} of {score.floor_name}: {score_text(info.floor, score.unit)}."
        )
    if info.arrows:
        some = ""
        if len(info.arrows) < len(findings.pairs):
            some = f", the {len(info.arrows)} on the front that gained most"
        notes.append(
            f"Arrows lead from a student without distillation to its distilled twin{some}."
        )
    if any(mark.group == "stopped" for mark in info.marks):
        notes.append("Trials stopped early stand where they were stopped, and never on the front.")
    if info.below_view:
        low = counted(info.below_view, "trial lies", "trials lie")
        notes.append(f"{low} below the view that it opens with.")
    if findings.hypervolume is not None and findings.front:
        third = info.space.objectives[2:]
        flat = f", whatever its {third[0].label}" if third else ""
        best = "; the best trade-off is the member that by itself dominates the largest area"
        notes.append(
            f"Hypervolume {number(findings.hypervolume, 3)}: the share of the area between "
            f"{score.floor_name} at the {info.space.yardstick}'s latency and "
            f"{score_text(score.best, score.unit, 0)} at no latency that the front "
            f"dominates{flat}{best if findings.best_trade_off is not None else ''}."
        )
    return notes
