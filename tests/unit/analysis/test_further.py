"""The section of further figures, and what a report says of pairs of images."""

import re
from dataclasses import replace
from html import unescape

from analysis.report import render
from analysis.results import Figure
from analysis.sections.further import further_section
from analysis.stored_plan import Score

FIGURES = (Figure("PSNR, X to Y", 21.234, "dB"), Figure("SSIM, X to Y", 0.65432, ""))


def words(html):
    return " ".join(unescape(re.sub("<[^>]+>", " ", html)).split())


def with_figures(results, *numbers, figures=FIGURES):
    """The results with further figures of some confirmed trials."""
    trials = [
        replace(trial, confirmed=replace(trial.confirmed, figures=figures))
        if trial.number in numbers
        else trial
        for trial in results.trials
    ]
    return replace(results, trials=tuple(trials))


def confirmed(results):
    return [trial for trial in results.trials if trial.confirmed is not None]


def test_every_figure_is_a_column_with_its_unit(realistic):
    trial = confirmed(realistic)[0]

    html = further_section(with_figures(realistic, trial.number))

    assert html.count("<tr>") == 2
    text = words(html)
    for fact in ("PSNR, X to Y dB", "21.23", "SSIM, X to Y", "0.654", trial.name):
        assert fact in text
    assert f"{trial.confirmed.test_score:.2f}" in text


def test_a_figure_that_some_trial_lacks_is_left_empty(realistic):
    first, second = (trial.number for trial in confirmed(realistic)[:2])
    results = with_figures(realistic, first)

    html = further_section(with_figures(results, second, figures=FIGURES[:1]))

    assert words(html).count("0.654") == 1
    assert words(html).count("21.23") == 2


def test_without_further_figures_there_is_no_section(realistic):
    assert further_section(realistic) is None
    assert 'id="further"' not in render(realistic)
    trial = confirmed(realistic)[0]
    assert 'id="further"' in render(with_figures(realistic, trial.number))


def test_a_report_of_pairs_speaks_of_no_classes_and_no_labels(realistic):
    space = replace(realistic.plan.space, data_kind="pairs")
    data = replace(realistic.plan.data, classes=())
    results = replace(realistic, plan=replace(realistic.plan, space=space, data=data))

    text = words(render(results).partition("<body>")[2].partition("<script")[0])

    assert "pairs of images" in text
    assert "0 classes" not in text
    assert "labels alone" not in text
    assert "without connections" in text


def test_the_floor_of_psnr_is_named() -> None:
    assert Score("PSNR", "dB", 50.0).floor_name == "always answering the mean training image"
