"""A tracking URI is judged at once, by its words, and refused with the mend."""

import subprocess
import sys
from pathlib import Path

import pytest

from study.tracking.tracker import check_tracking_uri, run_page, where_to_look


@pytest.mark.parametrize(
    "uri",
    [
        "none",
        "sqlite:///studies/mlflow.db",
        "sqlite:////data/mlflow.db",
        "http://127.0.0.1:5000",
        "https://mlflow.example.org/path",
        "databricks",
        "databricks://profile",
    ],
)
def test_tracking_uris_that_work_are_accepted(uri: str) -> None:
    assert check_tracking_uri(uri) is None


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("mlruns", ["'mlruns'", "sqlite:///mlruns/mlflow.db"]),
        ("file:///data/mlruns", ["sqlite:////data/mlruns/mlflow.db", "'none'"]),
        ("", ["sqlite:///./mlflow.db"]),
        ("sqlite://", ["sqlite:///FOLDER/mlflow.db"]),
        ("sqlite:///:memory:", ["sqlite:///FOLDER/mlflow.db"]),
        ("sqllite:///a.db", ["'sqllite'", "did you mean 'sqlite'"]),
        ("htp://host", ["did you mean 'http'"]),
        ("http://", ["http://HOST:PORT"]),
        ("postgresql+nosuchdriver://u@host/db", ["'nosuchdriver'"]),
    ],
)
def test_tracking_uris_that_cannot_work_are_refused_with_the_mend(
    uri: str, words: list[str]
) -> None:
    message = check_tracking_uri(uri)
    assert message is not None
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_look_at_a_uri_imports_no_mlflow() -> None:
    root = str(Path(__file__).parents[3])
    script = (
        f"import sys; sys.path.insert(0, {root!r})\n"
        "from study.tracking.tracker import check_tracking_uri\n"
        "assert check_tracking_uri('sqlite:///a.db') is None\n"
        "assert not {'mlflow', 'ray', 'torch', 'optuna', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_passwords_are_not_shown() -> None:
    for uri in ("sqllite://ann:secret@h/db", "postgresql+nosuchdriver://h/db?password=secret"):
        message = check_tracking_uri(uri)
        assert message is not None
        assert "…" in message
        assert "secret" not in message
    known = {"tracking_uri": "https://ann:secret@h:5000", "experiment_id": "3", "run_id": "0af1"}
    ((_, page),) = where_to_look(known)
    assert page.startswith("https://ann:…@h:5000/#/experiments/3")


def test_a_database_is_served_by_a_command_on_whose_page_the_run_is() -> None:
    uri = "sqlite:////home/my studies/mlflow.db"
    known = {"tracking_uri": uri, "experiment_id": "3", "run_id": "0af1"}
    assert where_to_look(known) == [
        ("MLflow", f"mlflow ui --backend-store-uri '{uri}'"),
        ("", f"then open {run_page('http://127.0.0.1:5000', '3', '0af1')}"),
    ]


@pytest.mark.parametrize(
    ("uri", "where"),
    [
        ("HTTP://h:5000", run_page("HTTP://h:5000", "3", "0af1")),
        ("databricks", "databricks, experiment 3, run 0af1"),
        ("databricks://prof", "databricks://prof, experiment 3, run 0af1"),
    ],
)
def test_what_a_server_has_is_served_by_no_command(uri: str, where: str) -> None:
    known = {"tracking_uri": uri, "experiment_id": "3", "run_id": "0af1"}
    assert where_to_look(known) == [("MLflow", where)]


def test_the_page_of_a_run_opens_among_the_pages_for_training() -> None:
    assert run_page("http://127.0.0.1:5000/", "3", "0af1") == (
        "http://127.0.0.1:5000/#/experiments/3/runs/0af1?workflowType=machine_learning"
    )
