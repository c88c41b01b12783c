"""What the first screen says of gains: of distillation, of connections, or over plain controls."""

import copy

import pytest

from analysis.findings import find
from analysis.report import render
from analysis.wording import headlines, sentences


def compared(sample, study, *, taught, kind="images", control=None):
    """A study of one student and its control, of a space of some kind."""
    plan = copy.deepcopy(sample.plan(published=False))
    plan["space"] |= {"taught": taught, "data_kind": kind, "control": control or {"alpha": 0.0}}
    trials = [
        sample.trial(sample.params(), accuracy=80.0, ratio=3.0),
        sample.trial(sample.params(alpha=0.0), accuracy=78.0, ratio=3.0, source="control"),
    ]
    return study(trials, plan_content=plan)


@pytest.mark.parametrize(
    ("taught", "kind", "title", "words"),
    [
        (True, "images", "Gain by distillation", "Distillation changed"),
        (False, "pairs", "Gain by distillation", "Distillation changed"),
        (False, "images", "Gain over controls", "What controls lack changed"),
    ],
)
def test_the_gain_is_told_alike_on_the_page_and_in_sentences(
    sample, study, taught, kind, title, words
):
    results = compared(sample, study, taught=taught, kind=kind)
    found = find(results)
    shown = headlines(results, found)[-1]

    assert shown.title == title
    assert shown.sentence.startswith(words)
    assert any(line.startswith(words) for line in sentences(results, found))
    assert ("undistilled" in shown.sentence) is (words == "Distillation changed")
    page = render(results)
    heading = "What distillation added"
    if title == "Gain over controls":
        heading = "What students gain over their controls"
        assert "taught by the labels alone" not in page
    assert heading in page


def test_where_nobody_teaches_and_nothing_is_compared_no_twin_is_waited_for(sample, study):
    plan = copy.deepcopy(sample.plan(published=False))
    plan["space"] |= {"taught": False}
    results = study([sample.trial(sample.params(), accuracy=80.0, ratio=3.0)], plan_content=plan)
    found = find(results)

    assert not found.pairs
    assert "twin" not in " ".join(sentences(results, found))
    assert not any("Gain" in line.title for line in headlines(results, found))


def test_an_end_that_is_shown_as_nothing_is_not_above_it(replicated, monkeypatch):
    found = find(replicated)
    several = [pair for pair in found.pairs if pair.validation.runs > 1]
    assert len(several) > 1
    low = type(several[0].validation)
    monkeypatch.setattr(low, "interval", property(lambda self: (0.04, 2.3)), raising=False)

    told = " ".join(sentences(replicated, found))
    assert f"above zero for none of the {len(several)} that were run" in told.replace("\u00a0", " ")


def test_one_row_of_one_run_is_one_row(sample, study):
    """The control of the default has a label too, and is no published row."""
    rows = ("Baseline", "[1,1,1,1]", "[2,2,0,0]")
    trials = [
        sample.trial(sample.params(alpha=0.1 * n), accuracy=70.0 + n, ratio=3.0, label=label)
        for n, label in enumerate((*rows, "default, no KD loss"), start=1)
    ]
    trials += [
        sample.replicate_of(trials[n], n, run, start=100.0 * run)
        for n in (0, 1, 3)
        for run in (1, 2)
    ]
    page = render(study(trials)).replace("\u00a0", " ")

    assert "1 of the 3 rows is one run, under one seed." in page


def test_reasons_for_other_ratios_are_given_where_there_are_ratios(sample, study, realistic):
    assert "Hardware and batch size" in render(realistic)
    plan = copy.deepcopy(sample.plan())
    trial = sample.trial(sample.params(), accuracy=77.0, ratio=3.0, label="Baseline")
    published = plan["space"]["published"]
    published["columns"] = [c for c in published["columns"] if c["key"] == "score"]
    for row in published["rows"]:
        row["values"] = {k: v for k, v in row["values"].items() if k == "score"}

    page = render(study([trial], plan_content=plan))
    assert "Why they may differ" in page
    assert "Hardware and batch size" not in page
    assert "The ratios divide by" not in page


def test_a_row_below_the_least_score_is_named_with_the_reason(sample, study):
    poor = sample.trial(sample.params(), accuracy=70.0, ratio=9.0, label="Baseline")
    poor["attributes"]["outcome"]["breaks"] = "accuracy 70 %, less than 75 %"
    good = sample.trial(sample.params((2, 1, 1, 1)), accuracy=80.0, ratio=3.0)
    page = render(study([poor, good]))

    assert "accuracy 70 %, less than 75 %, so on no front" in page
    assert "by students that keep to the limits asked for" in page
