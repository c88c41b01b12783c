"""What a study reads and writes beside the machine: data, MLflow, and what ended drivers left."""

import importlib.util
import logging
import os
import tempfile
import warnings
from pathlib import Path
from urllib.parse import urlsplit

from analysis.connections import engine_arguments
from study.doctor.check import Check, Scope, describe, first_line, number_of

_MLFLOW_OUT = "another --tracking-uri; none turns MLflow off, and a study runs all the same"


def check_data(scope: Scope) -> Check:
    """Say which data sets are there, and which would be downloaded."""
    from study.distillation.data import DATASETS, DataError
    from study.distillation.data import describe as describe_data

    if scope.data is not None:
        try:
            summary = describe_data(scope.data, scope.data_dir)
        except DataError as error:
            pairs = _pairs_summary(scope.data, scope.data_dir)
            if pairs is not None:
                return Check("data", "ok", pairs)
            return Check("data", "fail", str(error), "--data digits needs no files at all")
        if summary.kind == "download":
            mend = "the first study fetches it; without a network, give a folder with --data-dir"
            return Check("data", "note", str(summary), mend)
        return Check("data", "ok", str(summary))
    there: list[str] = []
    absent: list[str] = []
    damaged: list[str] = []
    for name in DATASETS:
        try:
            summary = describe_data(name, scope.data_dir)
        except DataError as error:
            damaged.append(str(error))
            continue
        (absent if summary.kind == "download" else there).append(name)
    text = f"here: {', '.join(there)}"
    if absent:
        text += f"; to be downloaded when asked for: {', '.join(absent)}"
    if damaged:
        mend = "or name another folder with --data-dir"
        return Check("data", "note", f"{text}; {'; '.join(damaged)}", mend)
    return Check("data", "ok", text)


def _pairs_summary(data: str, data_dir: Path | None) -> str | None:
    """Say what pairs of images a data set holds; None if it holds none."""
    from study.distillation.image_data import DataError
    from study.distillation.pair_data import describe

    try:
        return str(describe(data, data_dir))
    except DataError:
        return None


def check_mlflow(scope: Scope) -> Check:
    """Say whether MLflow, where runs would be shown, can be opened; nothing is written there."""
    from analysis.formatting import without_password
    from study.tracking.client import ENVIRONMENT, QUIET_LOGGERS
    from study.tracking.tracker import (
        NO_TRACKING,
        SERVERS,
        check_tracking_uri,
        default_tracking_uri,
    )

    uri = scope.tracking_uri or default_tracking_uri(scope.studies)
    if uri == NO_TRACKING:
        return Check("mlflow", "ok", "off; the record and the report have everything")
    problem = check_tracking_uri(uri)
    if problem is not None:
        return Check("mlflow", "fail", problem.replace(uri, without_password(uri)), _MLFLOW_OUT)
    if importlib.util.find_spec("mlflow") is None:
        return Check("mlflow", "fail", "No module named 'mlflow'", "see packages")
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if urlsplit(uri).scheme in SERVERS or uri in SERVERS:
            return _ask_server(uri, without_password(uri))
        return _open_database(uri, without_password(uri))


def _ask_server(uri: str, shown: str) -> Check:
    try:
        count = _experiments(uri)
    except Exception as error:  # MLflow passes on whatever its transport raises
        text = f"{shown} does not answer as MLflow does ({first_line(error)})"
        mend = "start it: mlflow server --host HOST --port PORT"
        if any(word in str(error) for word in (" 401", " 403", "PERMISSION_DENIED")):
            mend = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment"
        return Check("mlflow", "fail", text, f"{mend}; or {_MLFLOW_OUT}")
    return Check("mlflow", "ok", f"{shown} answers, with {number_of(count, 'experiment')}")


def _open_database(uri: str, shown: str) -> Check:
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.engine import make_url

    where = make_url(uri)
    is_file = where.get_backend_name() == "sqlite"
    if is_file and not Path(where.database or "").exists():
        return _new_database(Path(where.database or ""))
    try:
        engine = create_engine(where, **engine_arguments(uri, brief=True))
        try:
            laid_out = inspect(engine).has_table("experiments")
        finally:
            engine.dispose()
        if not laid_out:
            return Check("mlflow", "ok", f"{shown} can be opened; a study lays out MLflow's tables")
        count = _experiments(uri)
    except Exception as error:  # every driver raises its own kind
        if "out-of-date database schema" in str(error):
            text = f"{shown} was laid out by another version of MLflow"
            mend = f"keep a copy of it, then: mlflow db upgrade {shown}"
            return Check("mlflow", "fail", text, mend)
        mend = f"bring it up, or restore it from a copy; or {_MLFLOW_OUT}"
        return Check("mlflow", "fail", f"{shown} cannot be opened ({describe(error)})", mend)
    return Check("mlflow", "ok", f"{shown} can be opened, with {number_of(count, 'experiment')}")


def _new_database(path: Path) -> Check:
    """Try with a database elsewhere, so that looking makes none in the studies folder."""
    from study.plan import PlanError, check_writable

    try:
        check_writable(path.parent)
    except PlanError as error:
        text = str(error).replace("--studies", "MLflow's folder", 1)
        return Check("mlflow", "fail", text, _MLFLOW_OUT)
    with tempfile.TemporaryDirectory(prefix="study-doctor-") as folder:
        _experiments(f"sqlite:///{folder}/mlflow.db")
    text = f"{path} is not there yet: a study makes it, as was tried elsewhere"
    return Check("mlflow", "ok", text)


def _experiments(uri: str) -> int:
    from mlflow import MlflowClient

    return len(MlflowClient(tracking_uri=uri).search_experiments(max_results=1000))


def check_leftovers(scope: Scope) -> Check:
    """Say which studies' drivers are gone without giving back the lock, and what deletions left."""
    from study.commands import command
    from study.delete import leftovers
    from study.lock import LOCK_FILE, PATIENCE_SECONDS, LockReadError, read_holder

    gone, live, odd, unread = [], [], [], []
    for lock in sorted(scope.studies.glob(f"*/{LOCK_FILE}")):
        name = lock.parent.name
        if name.startswith("."):
            continue
        try:
            holder = read_holder(lock.parent)
        except LockReadError as error:
            unread.append(str(error))
            continue
        if holder is None:
            continue  # given back meanwhile
        if not holder.host:
            odd.append(name)
        elif holder.is_gone():
            gone.append(f"{name} (process {holder.pid})")
        else:
            live.append(f"{name} ({holder})")
    found, mends = [], []
    if gone:
        found.append(f"the driver ended without a word: {', '.join(gone)}")
        again = command("resume", scope.studies / "NAME")
        mends.append(f"{again} goes on with such a study")
    if odd:
        found.append(f"the lock cannot be read: {', '.join(odd)}")
        mends.append(
            f"resuming takes such a lock over, unless it beats within {PATIENCE_SECONDS:g} s"
        )
    found += unread
    deleted = sorted(leftovers(scope.studies))
    if deleted:
        found.append(f"deleted, not yet removed: {', '.join(deleted)}")
        mends.append(command("delete", scope.studies / deleted[0]))
    if found:
        return Check("leftovers", "note", "; ".join(found), "; ".join(mends))
    running = f"; at work: {', '.join(live)}" if live else ""
    return Check("leftovers", "ok", f"none{running}")
