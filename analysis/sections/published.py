"""The section of a report that sets the literature's table beside what was measured."""

from collections.abc import Mapping
from typing import Any

from analysis.formatting import counted, figure, figure_apart, plus_minus, score_text
from analysis.markup import Html, copy_buttons, join, scroll_box, tag
from analysis.record import StudyResults
from analysis.sections.comparisons import ratio_cell, section
from analysis.stored_plan import PublishedColumn, Score
from analysis.table import PublishedResult, measured_latency, published_results

# Of footnotes about rows; a dagger is of scores that are not yet the test split's.
_MARKS = ("‡", "§", "¶")


def published_section(results: StudyResults) -> Html | None:
    """The published table beside what was measured, and why they may differ."""
    published = results.plan.space.published
    if published is None:
        return None
    rows = published_results(results)
    measured = sum(row.split is not None for row in rows)
    note = f"{published.source}. {measured} of {len(rows)} rows measured here."
    return section(
        "published",
        "Published beside measured",
        tag("p", note, class_="note"),
        _published_table(published.columns, rows),
        *_footnotes(rows, published.note, results.plan.space.score),
        _why_they_differ(results),
    )


def _published_table(
    columns: tuple[PublishedColumn, ...], rows: tuple[PublishedResult, ...]
) -> Html:
    marks = _marks(rows)
    groups, heads = [tag("th", "Row", scope="col", rowspan=2)], []
    for column in columns:
        names = ["published", "measured", "difference"]
        if column.key == "time_ratio":
            names = ["published", "batch 1", "difference", "batch 64"]
        unit = f", {column.unit}" if column.unit and column.unit != "x" else ""
        title = f"{column.label[:1].upper()}{column.label[1:]}{unit}"
        groups.append(tag("th", title, scope="colgroup", colspan=len(names), class_="group"))
        heads += [
            tag("th", name, scope="col", class_="n first" if i == 0 else "n")
            for i, name in enumerate(names)
        ]
    caption = "Published figures beside those measured here"
    table = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *groups), tag("tr", *heads)),
        tag("tbody", *(_published_row(columns, row, marks) for row in rows)),
        id="published-table",
    )
    return join([copy_buttons("published-table", caption), scroll_box(table, caption)])


def _marks(rows: tuple[PublishedResult, ...]) -> dict[str, str]:
    """The mark of each text that is noted of rows."""
    texts = list(dict.fromkeys(row.row.note for row in rows if row.row.note))
    return {
        text: _MARKS[index % len(_MARKS)] * (index // len(_MARKS) + 1)
        for index, text in enumerate(texts)
    }


def _published_row(
    columns: tuple[PublishedColumn, ...], result: PublishedResult, marks: dict[str, str]
) -> Html:
    note = result.row.note
    label = f"{result.row.label} {marks[note]}" if note else result.row.label
    trial = result.trial
    under = "not run" if trial is None else trial.name
    if trial is not None and trial.status != "complete":
        under = f"{trial.name}, {trial.status}"
    cells = [tag("th", tag("span", label, tag("small", under), class_="stack"), scope="row")]
    latency = None if trial is None else measured_latency(trial)
    for column in columns:
        published, measured = result.comparisons[column.key]
        cells.append(tag("td", figure(column.key, published), class_="n first"))
        apart = figure_apart(column.key, result.comparisons[column.key].difference)
        if column.key == "time_ratio":
            one = None if latency is None else latency.ratio_batch_1
            many = None if latency is None else latency.ratio_batch_64
            cells.append(tag("td", ratio_cell(one).shown, class_="n measured"))
            cells.append(tag("td", apart, class_="n"))
            cells.append(tag("td", ratio_cell(many).shown, class_="n measured"))
            continue
        mark = "†" if column.key == "score" and result.split == "validation" else ""
        shown = join([figure(column.key, measured), tag("sup", mark) if mark else None])
        if column.key == "score" and result.error is not None:
            error = tag("small", plus_minus(result.error, 1))
            shown = tag("span", shown, error, class_="stack")
        cells.append(tag("td", shown, class_="n measured"))
        cells.append(tag("td", apart, class_="n"))
    return Html(tag("tr", *cells) + "\n")


def _footnotes(rows: tuple[PublishedResult, ...], note: str | None, score: Score) -> list[Html]:
    notes = []
    if any(row.split == "validation" for row in rows):
        notes.append(f"† Validation {score.name}: not yet scored on the test split.")
    notes += [f"{mark} {text}" for text, mark in _marks(rows).items()]
    notes += [note] if note else []
    return [tag("p", text, class_="footnote") for text in notes]


def _why_they_differ(results: StudyResults) -> Html:
    data, plan = results.plan.data, results.plan.plan
    compared, yardstick = results.compared_with, results.plan.space.yardstick
    device = "this study's device" if compared is None else compared.latency.device
    published = results.plan.space.published
    has_ratios = published is not None and any(c.key == "time_ratio" for c in published.columns)
    divided = f"The ratios divide by this study's {yardstick}"
    divided += f", {compared.name}." if compared is not None else "."
    about_yardstick = f"{divided if has_ratios else ''}{_taught_by(results)}".strip()
    reasons = [
        *(
            [
                (
                    "Hardware and batch size",
                    f"The ratios here were measured on {device}, {yardstick} and student in "
                    "alternation, at batch 1 and at batch 64. A published ratio depends on a "
                    "device and a batch size that are often not stated; the smaller the work, the "
                    "more of it is fixed cost.",
                )
            ]
            if has_ratios
            else []
        ),
        (
            "Data",
            f"Students here trained on {data.student_train:,} images of {data.name}; the "
            f"{results.plan.space.score.name} beside the published one is of {data.test:,} test "
            "images, but where it is marked to be of the validation split.",
        ),
        (
            "Epochs and time",
            f"{_most_epochs(plan)} each, some trials beside others on one machine; training "
            "seconds compare within a column only.",
        ),
        *([(yardstick.capitalize(), about_yardstick)] if about_yardstick else []),
        *_luck(results),
    ]
    items = [item for term, text in reasons for item in (tag("dt", term), tag("dd", text))]
    return tag(
        "details", tag("summary", "Why they may differ"), tag("dl", *items, class_="reasons"),
        open=True,
    )  # fmt: skip


def _most_epochs(plan: Mapping[str, Any]) -> str:
    most = plan.get("max_epochs")
    return "As many epochs as planned" if most is None else f"At most {counted(most, 'epoch')}"


def _luck(results: StudyResults) -> list[tuple[str, str]]:
    """That rows are of one run, as far as they are."""
    rows = [row.trial for row in published_results(results) if row.trial is not None]
    single = sum(
        results.validation[t.number].runs == 1 for t in rows if t.number in results.validation
    )
    if not single:
        return []
    some = f"{single} of the {len(rows)} rows {'is' if single == 1 else 'are'}"
    whose = "Each row here is" if single == len(rows) else some
    return [("Luck", f"{whose} one run, under one seed.")]


def _taught_by(results: StudyResults) -> str:
    """How good the teacher is, whose answers the students learnt from; begins with a space."""
    score = results.plan.space.score
    if results.teacher is None or not results.plan.space.taught:
        return ""
    reached = score_text(results.teacher.val_score, score.unit)
    return (
        f" Students learnt from its answers: its own {score.name} is {reached} on the validation "
        "split, and a weaker teacher than the published one makes weaker students."
    )
