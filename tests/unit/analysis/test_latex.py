"""Tables as LaTeX."""

import json
import re
from dataclasses import replace
from importlib.resources import files

from analysis.latex import (
    _SPECIAL,
    escaped,
    front_latex,
    latex_table,
    published_latex,
    results_latex,
)
from analysis.report import render


def test_what_latex_would_read_as_a_command_is_escaped():
    assert escaped("50 % & a_b {x} #1 $ ~ ^") == (
        r"50 \% \& a\_b \{x\} \#1 \$ \textasciitilde{} \textasciicircum{}"
    )
    assert escaped("\\input{x}") == r"\textbackslash{}input\{x\}"
    assert escaped("\u22121.2 ± 0.3") == r"$-$1.2 $\pm$ 0.3"
    assert escaped("two\n\nlines,\t3\u00a0ms") == "two lines, 3~ms"


def test_columns_of_numbers_are_set_flush_right():
    text = latex_table("c", "tab:c", ["a", "b", "c"], [["x", "1.5", "y"], ["z", "\u22122", "1"]])
    assert r"\begin{tabular}{lrl}" in text
    assert text.count("toprule") == text.count("midrule") == text.count("bottomrule") == 1
    assert r"    z & $-$2 & 1 \\" in text


def test_a_row_that_begins_with_a_bracket_is_no_option_of_the_line_above():
    text = latex_table("c", "tab:c", ["a", "b"], [["[1,1]", "1"], ["[2,2]", "[2]"]])
    assert r"    {}[1,1] & 1 \\" in text
    assert r"    {}[2,2] & [2] \\" in text
    assert r"    {}*a & b \\" in latex_table("c", "tab:c", ["a", "b"], [["*a", "b"]])


def test_tables_copied_from_the_page_escape_what_those_in_files_do():
    script = files("analysis").joinpath("assets", "tables.js").read_text(encoding="utf-8")
    special = json.loads(re.search(r"const special = (\{.*?\});", script)[1])
    pattern = re.search(r"cell\.replace\(/(.*?)/g, \(c\) => special\[c\]", script)[1]

    def copied(cell):
        return re.sub(pattern, lambda found: special.get(found[0], f"\\{found[0]}"), cell)

    # What keeps words together is a plain space by then.
    for character in set(_SPECIAL) - {"\u00a0"}:
        assert copied(character) == escaped(character)
    assert copied("> 99 %") == r"\textgreater{} 99 \%"
    assert copied("< 1 %") == r"\textless{} 1 \%"


def test_the_front_is_a_table_with_its_errors(replicated):
    text = front_latex(replicated)
    assert text.count(r" \\") == 1 + len(replicated.front)
    assert r"82.02~$\pm$~0.40" in text
    assert "Scores are means over runs" in text


def test_published_stands_beside_measured_with_the_difference(realistic, sample, study):
    text = published_latex(realistic)
    assert r"Baseline & 79.3 & 80.7 & +1.4 & 400 & 294 & $-$106 & 6.58 & 1.98 & $-$4.60 \\" in text
    assert published_latex(study([], plan_content=sample.plan(published=False))) is None


def test_the_columns_of_the_published_table_have_their_units(realistic):
    head = published_latex(realistic).split("\\toprule")[1].split("\\midrule")[0]
    assert r"\multicolumn{3}{c}{accuracy (\%)} & \multicolumn{3}{c}{training (s)}" in head
    assert r"& \multicolumn{3}{c}{inference-time ratio} \\" in head
    assert r"\cmidrule(lr){2-4} \cmidrule(lr){5-7} \cmidrule(lr){8-10}" in head
    assert "Row & published & measured & difference & published" in head
    assert "published & measured at batch 1 & difference" in head


def test_the_tables_of_two_studies_have_labels_of_their_own(realistic, study, sample):
    other = study([], plan_content=sample.plan(name="second_study.v2"))
    assert r"\label{tab:published-second-study-v2}" in published_latex(other)
    assert published_latex(realistic).count(r"\label{") == 1
    assert published_latex(other).split("label")[1] != published_latex(realistic).split("label")[1]


def test_a_front_says_what_its_latencies_and_ratios_are_of(realistic):
    caption = front_latex(realistic).split("\\caption{")[1].split("\\label")[0]
    assert "Latency and ratio are of one image on" in caption
    assert "the ratio is that of the teacher's latency (ResNet" in caption


def test_a_student_timed_on_the_idle_device_counts_before_it_is_scored(sample, study):
    trials = [sample.trial(sample.params(), accuracy=70.0 + r, ratio=5.0 - r) for r in (2.0, 3.0)]
    sample.confirm_front(trials)
    scored = study(trials)
    idle = [replace(t, idle_latency=t.confirmed.latency, confirmed=None) for t in scored.trials]
    searched = replace(idle[0], idle_latency=None)
    busy = "Not all were measured again on an idle device."

    assert len(scored.front) == 2
    assert busy not in front_latex(scored)
    assert busy not in front_latex(replace(scored, trials=tuple(idle)))
    assert busy in front_latex(replace(scored, trials=(searched, idle[1])))


def test_validation_scores_beside_published_test_scores_are_marked(realistic, sample, study):
    trials = [
        sample.trial(sample.params(), accuracy=77.0, ratio=3.0, label="Baseline"),
        sample.trial(sample.params(), ratio=3.0, status="failed", label="[1,1,1,1]"),
    ]
    text = published_latex(study(trials))
    assert r"Baseline & 79.3 & 77.0\dag{} & $-$2.3" in text
    assert r"[1,1,1,1] & 79.1 & – & –".replace("–", "--") in text
    assert r"\dag{} Validation accuracy: not yet scored on the test split.}" in text
    assert r"\begin{tabular}{lrrrrrrrrr}" in text
    assert r"\dag" not in published_latex(realistic)


def test_differences_have_the_decimals_of_their_column(sample, study):
    plan = sample.plan()
    plan["space"]["published"] |= {
        "columns": [
            {"key": "latency_ms", "label": "latency", "unit": "ms"},
            {"key": "params_m", "label": "parameters", "unit": "M"},
        ],
        "rows": [{"label": "Baseline", "values": {"latency_ms": 3.87, "params_m": 0.52}}],
    }
    item = sample.trial(
        sample.params(), accuracy=77.0, ratio=sample.TEACHER_MS / 3.90, label="Baseline"
    )
    item["attributes"]["model"]["params_m"] = 0.48
    results = study([item], plan_content=plan)
    assert r"Baseline & 3.87 & 3.90 & +0.03 & 0.52 & 0.48 & $-$0.04 \\" in published_latex(results)
    page = render(results)
    assert "+0.03" in page
    assert "\u22120.04" in page


def test_a_study_without_a_front_is_a_comment_and_the_published_table(study):
    text = results_latex(study([]))
    assert text.startswith("% Study pareto-demo; needs \\usepackage{booktabs}.\n")
    assert "tab:front" not in text
    assert "tab:published" in text
