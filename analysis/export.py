"""Tables as files: CSV and Markdown."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analysis.findings import find
from analysis.formatting import figure, number, signed, significant
from analysis.formatting import value as shown
from analysis.record import StudyResults
from analysis.table import columns as described
from analysis.table import front_table, has_replicates, published_results, results_table
from analysis.timing_notes import noise_note, tie_note
from analysis.wording import sentences

if TYPE_CHECKING:
    import pandas as pd

_TRIAL_COLUMNS = (
    "trial", "label", "status", "architecture", "on_front", "val_score", "test_score",
    "latency_ms", "ratio_batch_1", "ratio_batch_64", "params_m", "epochs_done", "train_seconds",
    "kd_gain",
)  # fmt: skip
_RUN_COLUMNS = (
    "replicate_of", "runs", "val_mean", "val_error", "test_mean", "test_error",
    "front_probability", "kd_gain_low", "kd_gain_high",
)  # fmt: skip

_NOTHING = 1e-9  # what is smaller is left over from the arithmetic


def to_csv(table: "pd.DataFrame") -> str:
    """A table as CSV: a header, ten significant digits, empty cells where there is nothing."""
    return str(table.to_csv(index=False, lineterminator="\n", float_format="%.10g"))


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A GitHub Markdown table; columns that hold only numbers are set flush right."""
    body = [[_cell(item) for item in row] for row in rows]
    numeric = [bool(body) and all(_is_numeric(row[i]) for row in body) for i in range(len(header))]
    rule = ["---:" if right else "---" for right in numeric]
    lines = [[_cell(name) for name in header], rule, *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(item: Any) -> str:
    if item is None or (isinstance(item, float) and math.isnan(item)):
        return ""
    text = item if isinstance(item, str) else _plain(item)
    for character in "\\|`*<>":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.replace("](", "]\\(").split())


def _plain(item: Any) -> str:
    """A value as text; a measured figure has no exponent: below 1e-9 it is 0."""
    text = shown(item)
    if not isinstance(item, float) or "e-" not in text:
        return text
    if abs(item) < _NOTHING:
        return "0"
    return significant(item, 4).replace("\u2212", "-").rstrip("0")


def _is_numeric(text: str) -> bool:
    plain = text.partition("\u00a0±")[0].replace("\u2212", "-").replace(",", "").lstrip("+")
    try:
        float(plain or "0")
    except ValueError:
        return text == "–"
    return True


def _frame_markdown(table: "pd.DataFrame", columns: Sequence[str], units: Mapping[str, str]) -> str:
    header = [f"{name} ({units[name]})" if units.get(name) else name for name in columns]
    return markdown_table(header, table[list(columns)].astype(object).to_numpy().tolist())


def results_markdown(results: StudyResults) -> str:
    """The study in Markdown: what was found, the front, published beside measured, all trials."""
    found = find(results)
    space = results.plan.space
    replicated = has_replicates(results)
    known = described(space, replicated=replicated)
    units = {column.name: column.unit for column in known}
    listed = (*_TRIAL_COLUMNS, *(_RUN_COLUMNS if replicated else ()))
    parts = [f"# {_cell(results.name)}\n", _cell(space.title) + "\n"]
    parts.append("".join(f"- {_cell(line)}\n" for line in sentences(results, found)))
    if found.front:
        front = front_table(results)
        columns = [name for name in listed if name in front.columns]
        parts += ["## Front\n"]
        if space.third is not None:
            parts += [f"Chosen by {space.compared_by}.\n"]
        parts += [_frame_markdown(front, columns, units)]
        notes = tie_note(results), noise_note(results)
        parts += [f"{_cell(note)}\n" for note in notes if note is not None]
    if space.published is not None:
        parts += ["## Published beside measured\n", _published_markdown(results)]
    parts += ["## All trials\n", _frame_markdown(results_table(results), listed, units)]
    meanings = [
        f"- `{column.name}`: {column.meaning}{f' ({column.unit})' if column.unit else ''}\n"
        for column in known
        if column.name in listed
    ]
    parts += ["## Columns\n", "".join(meanings)]
    return "\n".join(parts)


def _published_markdown(results: StudyResults) -> str:
    published = results.plan.space.published
    assert published is not None
    header = ["row"]
    for column in published.columns:
        name = f"{column.label} ({column.unit})"
        header += [f"{name}, published", f"{name}, measured"]
        header += ["difference"] if column.key == "score" else []
    header.append("ratio at batch 64, measured")
    rows = []
    marked = False
    for result in published_results(results):
        row: list[Any] = [result.row.label]
        for key, comparison in result.comparisons.items():
            mark = " †" if key == "score" and result.split == "validation" else ""
            marked = marked or bool(mark)
            row += [figure(key, comparison.published), result.measured(key) + mark]
            row += [signed(comparison.difference)] if key == "score" else []
        rows.append([*row, number(result.batch_64, 2)])
    name = results.plan.space.score.name
    note = f"\n† validation {name}: not yet scored on the test split.\n" if marked else ""
    return f"Source: {_cell(published.source)}.\n\n{markdown_table(header, rows)}{note}"
