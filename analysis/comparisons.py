"""Sections of a report that set things side by side: the front, the literature, the controls."""

from analysis.findings import Findings
from analysis.formatting import NONE, configuration, duration, figure, number, signed, significant
from analysis.front import KdPair
from analysis.markup import Cell, Head, Html, join, scroll_box, sortable_table, tag
from analysis.record import StudyResults
from analysis.results import Ratio, TrialResult
from analysis.stored_plan import PublishedColumn, Score
from analysis.table import PublishedResult, measured_latency, published_results


def section(identifier: str, title: str, *content: Html | None) -> Html:
    """A section with its heading."""
    return tag("section", tag("h2", title), *content, id=identifier)


def trial_cell(trial: TrialResult) -> Cell:
    """A trial's name, with the preset's label under it."""
    label = tag("small", trial.label) if trial.label else None
    return Cell(tag("span", tag("b", trial.name), label, class_="stack"))


def training_cell(trial: TrialResult) -> Cell:
    """The time a trial trained; of an exit, with whom it shares it."""
    shown = duration(trial.train_seconds)
    shared = None if trial.trained_with is None else tag("small", f"with {trial.trained_as}")
    return Cell(tag("span", shown, shared, class_="stack"), trial.train_seconds)


def taught(results: StudyResults, trial: TrialResult) -> str:
    """The parameters of a trial that do not shape the student, on one line."""
    shape = {p.name for p in results.plan.space.parameters if p.architecture}
    return configuration({k: v for k, v in trial.params.items() if k not in shape})


def _ratio(ratio: Ratio | None, digits: int = 2) -> Cell:
    """A ratio over its 95 % interval."""
    if ratio is None:
        return Cell(NONE)
    interval = f"{number(ratio.low, digits)}–{number(ratio.high, digits)}"
    return Cell(
        tag("span", number(ratio.median, digits), tag("small", interval), class_="stack"),
        ratio.median,
    )


def front_section(results: StudyResults, findings: Findings) -> Html | None:
    """The front's table, fastest student first."""
    if not findings.front:
        return None
    space = results.plan.space
    score, interval = space.score, "with its 95 % interval"
    heads = [
        Head("Trial", numeric=False),
        Head("Student", numeric=False),
        Head("Validation", score.unit, help=f"validation {score.name} after the last epoch"),
        Head("Test", score.unit, help=f"test {score.name}, scored once after the search"),
        Head("Latency", "ms", help="batch 1, median"),
        Head("Ratio", "batch 1", help=f"{space.yardstick} time / student time, {interval}"),
        Head("Ratio", "batch 64", help=f"{space.yardstick} time / student time, {interval}"),
        Head("Parameters", "M"),
        Head("FLOPs", "M", help="one example; a multiply-accumulate counts as 2"),
        Head(
            "KD gain",
            score.points,
            help=f"validation {score.name} minus that of the undistilled twin",
        ),
        Head("Training", "time", help="time spent training, validation apart"),
        Head("How it was taught", numeric=False),
    ]
    gains = {pair.distilled.number: pair.val_gain for pair in findings.pairs}
    rows = []
    for trial in findings.front:
        latency = measured_latency(trial)
        mark = None if latency is None or latency.idle else tag("sup", "*")
        gain = gains.get(trial.number)
        rows.append(
            [
                trial_cell(trial),
                Cell(trial.architecture),
                Cell(number(trial.val_score, 2), trial.val_score),
                Cell(number(trial.test_score, 2), trial.test_score),
                Cell(join([significant(trial.latency_ms), mark]), trial.latency_ms),
                _ratio(None if latency is None else latency.ratio_batch_1),
                _ratio(None if latency is None else latency.ratio_batch_64),
                *_sizes(trial),
                Cell(signed(gain), gain),
                training_cell(trial),
                Cell(taught(results, trial)),
            ]
        )
    unconfirmed = any("*" in row[4].shown for row in rows)
    note = (
        f"Chosen by validation {space.compared_by} among the students trained to their last "
        "epoch; the test split is scored once, for the finished front, and chooses nothing."
    )
    if unconfirmed:
        note += " * Not yet measured again on the idle device: the latency searched by."
    return section(
        "front",
        "The front",
        tag("p", note, class_="note"),
        sortable_table("front-table", "Students on the front", heads, rows),
    )


def _sizes(trial: TrialResult) -> tuple[Cell, Cell]:
    model = trial.model
    if model is None:
        return Cell(NONE), Cell(NONE)
    return (
        Cell(significant(model.params_m), model.params_m),
        Cell(significant(model.flops_m), model.flops_m),
    )


def gains_section(results: StudyResults, findings: Findings) -> Html | None:
    """What distillation added: every distilled student beside its control."""
    if not findings.pairs:
        return None
    score = results.plan.space.score
    alone = "without connections" if results.plan.space.of_pairs else "taught by the labels alone"
    heads = [
        Head("Distilled", numeric=False),
        Head("Control", numeric=False),
        Head("Student", numeric=False),
        Head("Distilled", f"validation {score.name}, {score.unit}"),
        Head("Control", f"validation {score.name}, {score.unit}"),
        Head("Gain", f"validation, {score.points}"),
        Head("Gain", f"test, {score.points}"),
    ]
    return section(
        "gains",
        "What distillation added",
        tag(
            "p",
            "Each distilled student beside its control: the same student, recipe, data order and "
            f"seed, {alone}. One pair is one run of each, so a gain well under {score.one_point} "
            "may be chance.",
            class_="note",
        ),
        sortable_table(
            "gains-table",
            "Distilled students and their controls",
            heads,
            [_gain_row(pair) for pair in findings.pairs],
        ),
    )


def _gain_row(pair: KdPair) -> list[Cell]:
    distilled, control = pair.distilled, pair.control
    return [
        trial_cell(distilled),
        trial_cell(control),
        Cell(distilled.architecture),
        Cell(number(distilled.val_score, 2), distilled.val_score),
        Cell(number(control.val_score, 2), control.val_score),
        Cell(signed(pair.val_gain), pair.val_gain),
        Cell(signed(pair.test_gain), pair.test_gain),
    ]


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
    groups, heads = [tag("th", "Row", scope="col", rowspan=2)], []
    for column in columns:
        names = ["published", "measured"]
        if column.key == "score":
            names.append("difference")
        if column.key == "time_ratio":
            names = ["published", "batch 1", "batch 64"]
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
        tag("tbody", *(_published_row(columns, row) for row in rows)),
        id="published-table",
    )
    return scroll_box(table, caption)


def _published_row(columns: tuple[PublishedColumn, ...], result: PublishedResult) -> Html:
    label = result.row.label + (" ‡" if result.row.note else "")
    trial = result.trial
    under = "not run" if trial is None else trial.name
    if trial is not None and trial.status != "complete":
        under = f"{trial.name}, {trial.status}"
    cells = [tag("th", tag("span", label, tag("small", under), class_="stack"), scope="row")]
    latency = None if trial is None else measured_latency(trial)
    for column in columns:
        published, measured = result.comparisons[column.key]
        cells.append(tag("td", figure(column.key, published), class_="n first"))
        if column.key == "time_ratio":
            for ratio in (
                None if latency is None else latency.ratio_batch_1,
                None if latency is None else latency.ratio_batch_64,
            ):
                cells.append(tag("td", _ratio(ratio).shown, class_="n measured"))
            continue
        mark = "†" if column.key == "score" and result.split == "validation" else ""
        shown = join([figure(column.key, measured), tag("sup", mark) if mark else None])
        cells.append(tag("td", shown, class_="n measured"))
        if column.key == "score":
            difference = result.comparisons[column.key].difference
            cells.append(tag("td", signed(difference), class_="n"))
    return Html(tag("tr", *cells) + "\n")


def _footnotes(rows: tuple[PublishedResult, ...], note: str | None, score: Score) -> list[Html]:
    notes = []
    if any(row.split == "validation" for row in rows):
        notes.append(f"† Validation {score.name}: not yet scored on the test split.")
    notes += [f"‡ {text}" for text in dict.fromkeys(r.row.note for r in rows if r.row.note)]
    notes += [note] if note else []
    return [tag("p", text, class_="footnote") for text in notes]


def _why_they_differ(results: StudyResults) -> Html:
    data, plan = results.plan.data, results.plan.plan
    compared, yardstick = results.compared_with, results.plan.space.yardstick
    device = "this study's device" if compared is None else compared.latency.device
    reasons = [
        (
            "Hardware and batch size",
            f"The ratios here were measured on {device}, {yardstick} and student in "
            "alternation, at batch 1 and at batch 64. A published ratio depends on a device and a "
            "batch size that are often not stated; the smaller the work, the more of it is fixed "
            "cost.",
        ),
        (
            "Data",
            f"Students here trained on {data.student_train:,} images of {data.name}; the "
            f"{results.plan.space.score.name} beside the published one is of {data.test:,} test "
            "images.",
        ),
        (
            "Epochs and time",
            f"At most {plan.get('max_epochs', 'as many as planned')} epochs each, some trials "
            "beside others on one machine; training seconds compare within a column only.",
        ),
        (
            yardstick.capitalize(),
            f"The ratios divide by this study's {yardstick}"
            + (f", {compared.name}." if compared is not None else "."),
        ),
    ]
    items = [item for term, text in reasons for item in (tag("dt", term), tag("dd", text))]
    return tag(
        "details", tag("summary", "Why they may differ"), tag("dl", *items, class_="reasons"),
        open=True,
    )  # fmt: skip
