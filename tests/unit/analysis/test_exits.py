"""Exits of one network in a report: each a student, their training counted once."""

import copy

import pytest

from analysis.charts.front_chart import front_info
from analysis.findings import find, time_spent
from analysis.record import read_record
from analysis.report import render
from analysis.sections.exits import exits_of, networks
from analysis.table import results_table


@pytest.fixture
def of_exits(sample, tmp_path, monkeypatch):
    """A study of two trained networks, the first of which can be left at another exit too."""
    values = sample.params((1, 1, 1, 1), 2)
    own = sample.trial(values, accuracy=80.0, ratio=4.0)
    other = sample.trial(values, accuracy=75.0, ratio=9.0, source="exit")
    plain = sample.trial(sample.params((2, 1, 1, 1), 2), accuracy=70.0, ratio=3.0)
    for item, leave_at in ((own, 4), (other, 1), (plain, 4)):
        item["params"] = {**item["params"], "exit": leave_at}
        item["attributes"]["architecture"] += f", exit {leave_at}"
    other["attributes"]["trained_with"] = 0
    plan = copy.deepcopy(sample.plan(published=False))
    plan["space"]["parameters"].append(
        {
            "name": "exit",
            "kind": "choice",
            "choices": [1, 4, "ensemble"],
            "architecture": True,
            "help": "",
            "when": None,
        }
    )
    exits = sample.CategoricalDistribution((1, 4, "ensemble"))
    monkeypatch.setitem(sample.DISTRIBUTIONS, "exit", exits)
    folder = tmp_path / "study"
    return read_record(sample.write_record(folder, [own, plain, other], plan_content=plan))


def test_an_exit_belongs_to_the_network_that_trained_it(of_exits):
    (network,) = networks(of_exits)
    assert network.trial.name == "t0000"
    assert {leave_at: each.name for leave_at, each in network.students.items()} == {
        4: "t0000",
        1: "t0002",
    }
    assert exits_of(of_exits) == (1, 4, "ensemble")
    assert of_exits.trials[2].trained_as == "t0000"


def test_every_exit_is_a_point_that_says_with_whom_it_was_trained(of_exits):
    hovers = {mark.trial: mark.hover for mark in front_info(of_exits).marks}
    assert set(hovers) == {"t0000", "t0001", "t0002"}
    assert "trained with t0000" in hovers["t0002"]
    assert "trained with" not in hovers["t0000"]


def test_the_shared_training_is_counted_once(of_exits):
    own, plain, other = of_exits.trials
    assert other.train_seconds == own.train_seconds > 0
    spent = time_spent(of_exits)
    assert spent.by_status["complete"] == own.train_seconds + plain.train_seconds
    assert find(of_exits).counts["complete"] == 3  # students, each of which is a point


def test_the_report_has_a_row_for_each_network(of_exits):
    html = render(of_exits).replace("\u00a0", " ")
    assert 'id="exits-table"' in html
    assert "1 trained network can be left at 2 exits in all" in html
    assert "2 ended, and 1 exit beside them" in html
    assert "Exits of one network share its training, which is counted once." in html


def test_a_study_without_exits_has_no_word_of_them(realistic):
    assert networks(realistic) == ()
    assert 'id="exits' not in render(realistic)


def test_the_table_names_the_trial_of_an_exit(of_exits):
    table = results_table(of_exits)
    assert list(table["source"]) == ["sampler", "sampler", "exit"]
    assert table["trained_with"].iloc[2] == "t0000"
    assert table["trained_with"].isna().sum() == 2
