"""Tables as LaTeX."""

from analysis.latex import escaped, front_latex, latex_table, published_latex, results_latex


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


def test_the_front_is_a_table_with_its_errors(replicated):
    text = front_latex(replicated)
    assert text.count(r" \\") == 1 + len(replicated.front)
    assert r"82.02~$\pm$~0.40" in text
    assert "Scores are means over runs" in text


def test_published_stands_beside_measured_with_the_difference(realistic, sample, study):
    text = published_latex(realistic)
    assert r"Baseline & 79.3 & 80.7 & +1.4 & 400 & 294 & $-$106 & 6.58 & 1.98 & $-$4.60 \\" in text
    assert published_latex(study([], plan_content=sample.plan(published=False))) is None


def test_a_study_without_a_front_is_a_comment_and_the_published_table(study):
    text = results_latex(study([]))
    assert text.startswith("% Study pareto-demo; needs \\usepackage{booktabs}.\n")
    assert "tab:front" not in text
    assert "tab:published" in text
