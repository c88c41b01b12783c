"""The page that sets several studies side by side."""

from analysis.charts.fronts import fronts_figure, look
from analysis.comparison import Comparison
from analysis.formatting import NONE, counted, joined, milliseconds, number, score_text, significant
from analysis.markup import Cell, Head, Html, join, plain_table, sortable_table, tag
from analysis.page import document
from analysis.sections.comparisons import section
from analysis.sections.overview import key
from analysis.timing_notes import spread_told

_SHOWN_DIGITS = 4
_LEDE_DIGITS = 3
_LEVEL = 0.001  # hypervolumes less far apart are not told apart in the lede


def compared_page(comparison: Comparison) -> str:
    """The comparison as one HTML document that loads nothing."""
    names = [study.label for study in comparison.studies]
    title = joined(names)
    lede = (
        f"{_largest(comparison)}; the joint front "
        f"has {counted(sum(m.joint for m in comparison.members), 'student')}, "
        + ", ".join(
            f"{sum(m.joint for m in study.members)} of {study.label}"
            for study in comparison.studies
        )
        + "."
    )
    looks = [look(place) for place in range(len(names))]
    keyed = [
        (f"study-{i + 1}", symbol, name)
        for i, ((_, symbol, _), name) in enumerate(zip(looks, names, strict=True))
    ]
    colours = {f"study-{i + 1}": colour for i, (colour, _, _) in enumerate(looks)}
    caption = (
        "Up and left is better. A filled mark is on the joint front of score and latency, a hollow "
        "one is not"
    )
    if any(study.results.teacher is not None for study in comparison.studies):
        caption += "; stars are the teachers"
    body = [
        tag(
            "header",
            tag("p", f"Comparison of {len(names)} studies", class_="eyebrow"),
            tag("h1", title),
            tag("p", lede, class_="lede"),
        ),
        _warnings(comparison),
        tag(
            "figure",
            key("fronts", keyed, colours),
            tag("div", id="chart-fronts", class_="chart tall", role="img",
                aria_label=f"Fronts of {title}"),
            tag("figcaption", f"{caption}."),
            class_="main",
        ),
        _hypervolumes(comparison),
        _members(comparison),
        _differences(comparison),
    ]  # fmt: skip
    figures = {"fronts": fronts_figure(comparison)}
    return document(f"{title} · distillation studies", join(body, "\n"), figures, {})


def _largest(comparison: Comparison) -> str:
    """Whose hypervolume is the largest, or that it is shared, or that none has any."""
    largest = max(study.hypervolume for study in comparison.studies)
    if not largest > 0.0:
        return "No front dominates any area under the shared reference point"
    level = [study for study in comparison.studies if largest - study.hypervolume < _LEVEL]
    told = number(largest, _LEDE_DIGITS)
    if len(level) == 1:
        return f"{level[0].label} has the largest hypervolume, {told}"
    shared = joined([study.label for study in level])
    if len({number(study.hypervolume, _SHOWN_DIGITS) for study in level}) > 1:
        whose = f"largest hypervolumes, those of {shared},"
        if len(level) == len(comparison.studies):
            whose = f"hypervolumes of {shared}"
        return f"The {whose} are less than {_LEVEL} apart, about {told}"
    if len(level) == len(comparison.studies):
        return f"{shared} have the same hypervolume, {told}"
    return f"{shared} share the largest hypervolume, {told}"


def _warnings(comparison: Comparison) -> Html | None:
    if not comparison.warnings:
        return None
    items = [tag("li", sentence) for sentence in comparison.warnings]
    return tag("aside", tag("h2", "Mind when comparing"), tag("ul", *items), class_="warnings")


def _hypervolumes(comparison: Comparison) -> Html:
    space, corner = comparison.studies[0].results.plan.space, comparison.reference
    unit = space.score.unit
    where = (
        f"the {space.yardstick}'s latency"
        if comparison.relative
        else milliseconds(corner.latency_ms)
    )
    note = (
        f"Under one reference point, {score_text(corner.val_score, unit)} at {where}, up to "
        f"{score_text(corner.best_score, unit, 0)} at no latency: the share of that area which a "
        "front dominates. Beside it, the hypervolume under each study's own reference point."
    )
    heads = [
        Head("Study", numeric=False),
        Head("Hypervolume", "shared"),
        Head("Hypervolume", "own"),
        Head("Front", "students"),
        Head("On the joint front"),
        Head("Trials"),
        Head("Epochs", "spent"),
        Head("Best", unit),
        Head("Fastest", f"of its {space.yardstick}'s" if comparison.relative else "ms"),
        Head("A/A spread", help="how far apart timings of equal students lie, in 95 of 100 cases"),
    ]
    rows = []
    for study in comparison.studies:
        scores = [member.val_score for member in study.members]
        across = [member.across for member in study.members]
        tests = study.results.tie_tests
        rows.append(
            [
                Cell(tag("b", study.label)),
                Cell(number(study.hypervolume, _SHOWN_DIGITS), study.hypervolume),
                Cell(number(study.own_hypervolume, _SHOWN_DIGITS), study.own_hypervolume),
                Cell(f"{len(study.members)}"),
                Cell(f"{sum(member.joint for member in study.members)}"),
                Cell(f"{len(study.results.configurations):,}", len(study.results.configurations)),
                Cell(f"{study.epochs:,}", study.epochs),
                Cell(number(max(scores), 2) if scores else NONE, max(scores, default=None)),
                Cell(significant(min(across)) if across else NONE, min(across, default=None)),
                Cell(
                    spread_told(tests) or "not tested",
                    None if tests.widest is None else tests.widest.spread,
                ),
            ]
        )
    return section(
        "hypervolume",
        "Hypervolume",
        tag("p", note, class_="note"),
        sortable_table("hypervolume-table", "Hypervolume of every study", heads, rows),
    )


def _members(comparison: Comparison) -> Html:
    space = comparison.studies[0].results.plan.space
    heads = [
        Head("Study", numeric=False),
        Head("Trial", numeric=False),
        Head("Student", numeric=False),
        Head("Validation", space.score.unit),
        Head("Latency", f"share of {space.yardstick}'s" if comparison.relative else "ms"),
        Head("Ratio", "batch 1"),
        Head("Parameters", "M"),
        Head("Joint front", numeric=False),
    ]
    rows = [
        [
            Cell(member.study),
            Cell(member.trial.name),
            Cell(member.trial.label or member.trial.architecture),
            Cell(number(member.val_score, 2), member.val_score),
            Cell(significant(member.across), member.across),
            Cell(number(member.ratio, 2), member.ratio),
            Cell(significant(None if member.trial.model is None else member.trial.model.params_m)),
            Cell("yes" if member.joint else "no"),
        ]
        for member in comparison.members
    ]
    return section(
        "members",
        "All front members",
        tag("p", _ties(comparison), class_="note"),
        sortable_table("members-table", "Front members of all studies", heads, rows),
    )


def _ties(comparison: Comparison) -> str:
    """Which differences in latency mean nothing, and who is on the joint front then."""
    untested = [s.label for s in comparison.studies if s.results.tie_tests.widest is None]
    if len(untested) == len(comparison.studies):
        return (
            "No study has an A/A test yet, so how noisy latencies are is not known, and none count "
            "as tied."
        )
    note = (
        "Two students are tied in latency up to the larger of their A/A spreads: a smaller "
        "difference means nothing. Of tied students the one with the better score is on the joint "
        "front; of the same score all are."
    )
    return f"{note} Not tested: {', '.join(untested)}." if untested else note


def _differences(comparison: Comparison) -> Html:
    if not comparison.differences:
        yardstick = comparison.studies[0].results.plan.space.yardstick
        note = f"Plans, spaces, data, {yardstick}s and versions are the same."
        return section("differences", "How they differ", tag("p", note, class_="note"))
    heads = [Head("Field", numeric=False)]
    heads += [Head(study.label, numeric=False) for study in comparison.studies]
    rows = [
        [Cell(each.field), *(Cell(value, class_="wide") for value in each.values)]
        for each in comparison.differences
    ]
    return section(
        "differences",
        "How they differ",
        tag("p", "What is not said here is the same in all.", class_="note"),
        plain_table("differences-table", "Fields that differ", heads, rows),
    )
