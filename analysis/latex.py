"""Tables as LaTeX, with the rules of the `booktabs` package."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from analysis.findings import find
from analysis.formatting import (
    NONE,
    figure,
    figure_apart,
    number,
    signed,
    significant,
)
from analysis.formatting import value as shown
from analysis.record import StudyResults
from analysis.table import measured_latency, published_results

_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "λ": "lambda",
    "μ": "mu", "σ": "sigma", "τ": "tau", "Δ": "Delta",
}  # fmt: skip
_SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "\u2212": "$-$", "–": "--", "±": r"$\pm$", "×": r"$\times$",
    "\u00a0": "~", "‡": r"\ddag{}", "†": r"\dag{}", "§": r"\S{}", "¶": r"\P{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "≥": r"$\geq$",
    "≤": r"$\leq$", "→": r"$\rightarrow$", "µ": r"$\mu$", "²": r"$^2$", "³": r"$^3$",
    **{letter: f"$\\{name}$" for letter, name in _GREEK.items()},
    **{character: f"\\{character}" for character in "&%$#_{}"},
}  # fmt: skip


def escaped(text: str) -> str:
    """Text that LaTeX prints as it is, on one line: an empty one would end a paragraph."""
    line = re.sub(r"[ \t\r\n]+", " ", text)  # and no other space: some keep words together
    return "".join(_SPECIAL.get(character, character) for character in line)


def latex_table(
    caption: str,
    label: str,
    header: Sequence[str],
    rows: Iterable[Sequence[Any]],
    groups: Sequence[tuple[str, int]] = (),
) -> str:
    """A `table` with a `tabular` in it; columns of numbers are set flush right.

    `groups` are the titles above the header, each with how many columns it is of.
    """
    body = [[_cell(item) for item in row] for row in rows]
    kinds = "".join(
        "r" if column and body and all(_is_numeric(row[column]) for row in body) else "l"
        for column in range(len(header))
    )
    lines = [
        r"\begin{table}",
        r"  \centering\small",
        f"  \\caption{{{escaped(caption)}}}",
        f"  \\label{{{label}}}",
        f"  \\begin{{tabular}}{{{kinds}}}",
        r"    \toprule",
        *(f"    {line}" for line in _group_lines(groups)),
        f"    {_line(header)}",
        r"    \midrule",
        *(f"    {_line(row)}" for row in body),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _group_lines(groups: Sequence[tuple[str, int]]) -> list[str]:
    """The titles of groups of columns, and a rule under each."""
    if not groups:
        return []
    titles, rules, first = [], [], 1
    for title, columns in groups:
        titles.append(f"\\multicolumn{{{columns}}}{{c}}{{{escaped(title)}}}" if title else "")
        if title:
            rules.append(f"\\cmidrule(lr){{{first}-{first + columns - 1}}}")
        first += columns
    return [f"{' & '.join(titles)} \\\\", " ".join(rules)]


def _line(cells: Sequence[str]) -> str:
    line = f"{' & '.join(escaped(cell) for cell in cells)} \\\\"
    # A rule or the end of a line before it would take these for its own.
    return f"{{}}{line}" if line.startswith(("[", "*")) else line


def _cell(item: Any) -> str:
    if item is None or (isinstance(item, float) and math.isnan(item)):
        return NONE
    return item if isinstance(item, str) else shown(item)


def _is_numeric(text: str) -> bool:
    plain = text.replace("\u2212", "-").replace(",", "").lstrip("+").rstrip("†")
    plain = plain.partition("\u00a0±")[0]
    try:
        float(plain)
    except ValueError:
        return plain == NONE
    return True


def front_latex(results: StudyResults) -> str:
    """The front, fastest student first, as its report has it."""
    found, space = find(results), results.plan.space
    gains = {pair.distilled.number: pair.validation for pair in found.pairs}
    rows = []
    for trial in found.front:
        latency, gain = measured_latency(trial), gains.get(trial.number)
        rows.append(
            [
                trial.name,
                trial.label or trial.architecture,
                _estimate(results.val_score(trial), results.validation.get(trial.number)),
                _estimate(results.test_score(trial), results.tested.get(trial.number)),
                significant(trial.latency_ms),
                number(None if latency is None else latency.ratio_batch_1.median, 2),
                significant(None if trial.model is None else trial.model.params_m),
                significant(None if trial.model is None else trial.model.flops_m),
                signed(None if gain is None else gain.mean),
            ]
        )
    unit = space.score.unit
    header = [
        "Trial", "Student", f"Validation ({unit})", f"Test ({unit})", "Latency (ms)", "Ratio",
        "Parameters (M)", "FLOPs (M)", f"KD gain ({space.score.points})",
    ]  # fmt: skip
    caption = f"The front of study {results.name} by {space.compared_by}."
    if results.replicated:
        caption += " Scores are means over runs ± their standard error."
    caption += _how_timed(results)
    return latex_table(caption, _label("front", results), header, rows)


def _how_timed(results: StudyResults) -> str:
    """What the latencies and ratios of a front are of; begins with a space."""
    compared, yardstick = results.compared_with, results.plan.space.yardstick
    if compared is None:
        return ""
    text = f" Latency and ratio are of one image on {compared.latency.device}; the ratio is that of"
    text += f" the {yardstick}'s latency ({compared.name}) to the student's."
    timed = [measured_latency(trial) for trial in results.front]
    if any(latency is None or not latency.idle for latency in timed):
        text += " Not all were measured again on an idle device."
    return text


def _label(table: str, results: StudyResults) -> str:
    """What a table is referred to by: another one of each study."""
    return f"tab:{table}-{re.sub(r'[^A-Za-z0-9-]+', '-', results.name)}"


def _estimate(mean: float | None, estimate: Any) -> str:
    error = None if estimate is None else estimate.error
    text = number(mean, 2)
    return text if error is None else f"{text}\u00a0±\u00a0{number(error, 2)}"


def published_latex(results: StudyResults) -> str | None:
    """The published table beside what was measured; None of a space without one.

    Validation scores, of what was not yet scored on the test split, are marked with a dagger.
    """
    published = results.plan.space.published
    if published is None:
        return None
    header, groups = ["Row"], [("", 1)]
    for column in published.columns:
        unit = f" ({column.unit})" if column.unit and column.unit != "x" else ""
        measured = "measured at batch 1" if column.key == "time_ratio" else "measured"
        header += ["published", measured, "difference"]
        groups.append((f"{column.label}{unit}", 3))
    rows = []
    found = published_results(results)
    for result in found:
        row: list[Any] = [result.row.label]
        for key, comparison in result.comparisons.items():
            mark = "†" if key == "score" and result.split == "validation" else ""
            row += [figure(key, comparison.published), result.measured(key) + mark]
            row.append(figure_apart(key, comparison.difference))
        rows.append(row)
    caption = f"{published.source}: published figures beside those of study {results.name}."
    if any(result.split == "validation" for result in found):
        name = results.plan.space.score.name
        caption += f" † Validation {name}: not yet scored on the test split."
    return latex_table(caption, _label("published", results), header, rows, groups)


def results_latex(results: StudyResults) -> str:
    """All tables of a paper's appendix in one file that a paper inputs."""
    head = f"% Study {' '.join(results.name.split())}; needs \\usepackage{{booktabs}}.\n"
    parts = [head, front_latex(results) if results.front else None, published_latex(results)]
    return "\n".join(part for part in parts if part)
