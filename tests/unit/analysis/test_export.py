import io

import pandas as pd
import pytest

from analysis.export import markdown_table, results_markdown, to_csv
from analysis.formatting import (
    configuration,
    counted,
    duration,
    figure,
    moment,
    number,
    signed,
    significant,
    without_password,
)
from analysis.table import results_table


def test_csv_reads_back_as_it_was_written(realistic):
    table = results_table(realistic)
    text = to_csv(table)
    assert "\r" not in text
    back = pd.read_csv(io.StringIO(text))
    assert list(back.columns) == list(table.columns)
    pd.testing.assert_series_equal(back["latency_ms"], table["latency_ms"].astype(float), rtol=1e-9)
    assert list(back["label"].dropna()) == list(table["label"].dropna())


def test_markdown_cells_cannot_break_the_table():
    text = markdown_table(["a|b", "n"], [["x|y\nz <b>*", 1.5], [None, float("nan")]])
    lines = text.splitlines()
    assert lines[0] == "| a\\|b | n |"
    assert lines[1] == "| --- | ---: |"
    assert lines[2] == "| x\\|y z \\<b\\>\\* | 1.5 |"
    assert lines[3] == "|  |  |"


def test_markdown_tells_the_whole_study(realistic):
    text = results_markdown(realistic)
    for heading in ("# pareto-demo", "## Front", "## Published beside measured", "## All trials"):
        assert f"{heading}\n" in text
    assert "9 of 27 fully trained students are on the front" in text
    row = next(line for line in text.splitlines() if line.startswith("| Baseline | 79.3"))
    assert row.split(" | ")[1:4] == ["79.3", "80.7", "+1.4"]
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len(tables) == (9 + 2) + (9 + 2) + (48 + 2)


def test_markdown_marks_validation_accuracy_and_omits_what_is_not_there(sample, study):
    trial = sample.trial(sample.params(), accuracy=77.0, ratio=3.0, label="Baseline")
    text = results_markdown(study([trial]))
    assert "77.0 †" in text
    assert "† validation accuracy" in text


def test_markdown_of_a_study_that_has_not_started(sample, study):
    text = results_markdown(study([], plan_content=sample.plan(published=False)))
    assert "No trial has started yet" in text
    assert "## Front" not in text
    assert "Published" not in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.84, "0.8 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3599.6, "1 h"),
        (7500, "2 h 5 min"),
        (86399, "1 d"),
        (300_000, "3 d 11 h"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds).replace("\u00a0", " ") == text


def test_numbers():
    assert number(-0.04, 1) == "0.0"
    assert number(-1234.5, 1) == "\u22121,234.5"
    assert number(None, 2) == "–"
    assert [signed(x) for x in (2.04, -2.04, 0.01, None)] == ["+2.0", "\u22122.0", "0.0", "–"]
    assert [significant(x) for x in (0.00123, 9.876, 123456.0)] == ["0.00123", "9.88", "123,456"]
    # What is rounded up to one digit more has no more digits than were asked for.
    assert [significant(x) for x in (0.9996, 99.96, -9.999)] == ["1.00", "100", "\u221210.0"]
    assert figure("train_seconds", 291.6) == "292"
    assert figure("score", 79.25) in ("79.2", "79.3")
    assert figure("anything", 4.5678) == "4.57"
    assert counted(1, "class", "classes") == "1\u00a0class"
    assert counted(1204, "trial") == "1,204\u00a0trials"


def test_configuration_and_moments():
    params = {"terms": "ce+kl", "temperature": 4.0, "learning_rate": 0.0123456, "flip": True}
    expected = "terms ce+kl, temperature 4, learning_rate 0.01235, flip yes"
    assert configuration(params) == expected
    assert moment("2025-03-04T10:00:00+01:00") == "2025-03-04 09:00:00 UTC"
    assert moment("yesterday") == "yesterday"


def test_passwords_in_urls_are_not_shown():
    assert (
        without_password("postgresql+psycopg://me:s3cret@host/db")
        == "postgresql+psycopg://me:…@host/db"
    )
    assert without_password("sqlite:///mlflow.db") == "sqlite:///mlflow.db"
    for url, shown in {
        "mysql://me:a/b@c:d@host/db, and more": "mysql://me:…@host/db, and more",
        "postgresql://host/db?user=me&password=s3/c@ret&x=1": (
            "postgresql://host/db?user=me&password=…&x=1"
        ),
        "mysql://host/db?PASSWD=a": "mysql://host/db?PASSWD=…",
        "mssql://host/db?pwd=a#b": "mssql://host/db?pwd=…#b",
        "mysql://host:3306/db?password=a@b": "mysql://host:3306/db?password=…",
        "http://host:5000/a, me@b": "http://host:5000/a, me@b",
    }.items():
        assert without_password(url) == shown


def test_no_figure_has_an_exponent_in_markdown():
    seconds = [[123_456.7], [9_999.96], [0.00001234], [-0.00002], [1.4e-14], [81.42]]
    lines = markdown_table(["train_seconds (s)"], seconds).splitlines()[2:]
    told = [line.strip("| ") for line in lines]
    assert told == ["123457", "10000", "0.00001234", "-0.00002", "0", "81.42"]


def test_large_values_are_whole_numbers_and_small_ones_keep_their_exponent():
    params = {"budget": 86_400.5, "seed": 3e20, "lr": 1e-5, "momentum": 0.9}
    assert configuration(params) == "budget 86400, seed 3e+20, lr 1e-05, momentum 0.9"
