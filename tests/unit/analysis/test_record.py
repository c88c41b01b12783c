import hashlib
import json
import shutil
import subprocess
import sys
import warnings

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from analysis.record import RecordReader, RecordReadError, read_record
from analysis.report import write_report
from analysis.results import ReferencePoint


def test_the_whole_record_is_read(realistic, sample):
    assert realistic.name == "pareto-demo"
    assert realistic.teacher.name == "ResNet-50 [3,4,6,3]"
    assert realistic.reference == ReferencePoint(10.0, sample.TEACHER_MS, 100.0)
    assert realistic.environment["torch"] == "2.15.0"
    assert [session.end for session in realistic.sessions] == ["SIGINT", "complete"]
    assert len(realistic.trials) == 48
    assert [trial.number for trial in realistic.trials] == list(range(48))
    statuses = {trial.status for trial in realistic.trials}
    assert statuses == {"complete", "stopped", "infeasible", "failed", "running"}


def test_one_trial_is_read_with_all_it_holds(realistic):
    ideal = realistic.trials[4]
    assert (ideal.name, ideal.label, ideal.source) == ("t0004", "[1,1,1,1], stride 2", "preset")
    assert ideal.params["terms"] == "ce+kl"
    assert "alpha" not in ideal.params
    assert [epoch.epoch for epoch in ideal.curve] == list(range(1, 31))
    assert ideal.curve[-1].val_score == ideal.outcome.val_score == 77.03
    assert ideal.confirmed.test_score == 76.43
    assert ideal.confirmed.latency.idle
    assert ideal.latency_ms == ideal.confirmed.latency.batch_1_ms.median


def test_a_running_trial_has_its_curve_and_the_latency_searched_by(realistic, sample):
    running = realistic.trials[46]
    assert running.status == "running"
    assert running.epochs_done == 14
    assert running.latency_ms == pytest.approx(sample.TEACHER_MS / 2.9)


def test_a_torn_last_line_is_left_out(realistic_folder, tmp_path):
    folder = shutil.copytree(realistic_folder, tmp_path / "torn")
    with (folder / "journal.log").open("ab") as journal:
        journal.write(b'{"op_code": 8, "worker_id": "ab')
    assert len(read_record(folder).trials) == 48


def test_damage_in_the_middle_is_refused_with_its_line(realistic_folder, tmp_path):
    folder = shutil.copytree(realistic_folder, tmp_path / "damaged")
    journal = folder / "journal.log"
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[9] = b'{"op_code": 8, \x00\n'
    journal.write_bytes(b"".join(lines))
    with pytest.raises(RecordReadError, match=r"journal\.log is damaged at line 10"):
        read_record(folder)


def test_reading_changes_nothing(realistic_folder):
    def state():
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in realistic_folder.iterdir()
            if path.is_file()
        }

    before = state()
    verbosity = optuna.logging.get_verbosity()
    read_record(realistic_folder)
    assert state() == before
    assert optuna.logging.get_verbosity() == verbosity


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(RecordReadError, match=r"holds no study.*plan\.json"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"format": 2,', "damaged"),
        ('{"format": 99}', "format 99, this version reads format 2"),
        ("[]", "format None"),
        ('{"format": 2, "name": "x"}', "field .* is missing"),
    ],
)
def test_a_damaged_plan_is_refused(tmp_path, content, message):
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(RecordReadError, match=message) as refusal:
        read_record(tmp_path)
    assert "plan.json" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["trials", "max_epochs", "replicates"])
def test_a_plan_whose_numbers_are_none_is_refused(tmp_path, sample, name):
    plan = sample.plan()
    plan["plan"][name] = "many"
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(RecordReadError, match=rf"damaged \(plan\.{name} is no number"):
        read_record(tmp_path)


def test_a_plan_without_a_journal_is_a_study_that_has_not_started(tmp_path, sample):
    (tmp_path / "plan.json").write_text(json.dumps(sample.plan()))
    results = read_record(tmp_path)
    assert (results.trials, results.teacher, results.reference) == ((), None, None)
    assert not (tmp_path / "journal.log").exists()
    for folder in ("logs", "checkpoints", "models"):
        (tmp_path / folder).mkdir()
    for _ in range(2):  # the report of nothing is no sign of a trial
        write_report(tmp_path)
        assert read_record(tmp_path).trials == ()


@pytest.mark.parametrize("left", ["checkpoints/t0007/student.pt", "models/t0007.pt2", "report"])
def test_a_journal_that_is_missing_though_there_are_students_is_refused(
    realistic_folder, tmp_path, left
):
    folder = shutil.copytree(realistic_folder, tmp_path / "study")
    if left == "report":
        write_report(folder)
    else:
        (folder / left).parent.mkdir(parents=True)
        (folder / left).write_bytes(b"weights")
    (folder / "journal.log").unlink()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for refused in (read_record, write_report):
        with pytest.raises(RecordReadError) as refusal:
            refused(folder)
        assert str(refusal.value) == (
            f"{folder / 'journal.log'} is missing though the study has students; "
            f"restore it from a copy, or give the study up: python -m study delete {folder.name}"
        )
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.fixture
def growing(sample, tmp_path):
    """A record with an ended and a running trial, its Optuna study, and a reader that has read."""
    ended = sample.trial(sample.params(), accuracy=70.0, ratio=3.0)
    running = sample.trial(
        sample.params((1, 0, 0, 0)), accuracy=60.0, ratio=4.0, status=None, done=2
    )
    folder = sample.write_record(tmp_path / "study", [ended, running])
    storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    stored = optuna.load_study(study_name="pareto-demo", storage=storage)
    reader = RecordReader(folder)
    reader.read()
    return folder, stored, reader


def test_a_reader_sees_what_was_written_since_and_keeps_what_has_ended(growing, sample):
    folder, stored, reader = growing
    ended = reader.read().trials[0]
    open_trial = stored.get_trials()[1]
    epoch = sample.curve(62.0, 30)[2]
    stored._storage.set_trial_user_attr(open_trial._trial_id, "epoch:0003", epoch)

    again = reader.read()

    assert again.trials[0] is ended
    assert [trial.epochs_done for trial in again.trials] == [30, 3]
    assert again == read_record(folder)


def test_a_reader_sees_what_becomes_known_after_the_end(growing, sample):
    folder, stored, reader = growing
    confirmed = {"test_score": 69.0, "latency": sample.latency(3.5, idle=True)}
    stored.set_user_attr("confirmed:0000", confirmed)
    stored.set_user_attr("mlflow_run:0000", "run")

    trial = reader.read().trials[0]

    assert trial.confirmed.test_score == 69.0
    assert trial.mlflow_run_id == "run"
    assert reader.read() == read_record(folder)


def test_a_reader_notices_that_the_plan_was_extended_or_the_study_begun_anew(growing, sample):
    folder, _, reader = growing
    longer = sample.plan(trials=96)
    (folder / "plan.json").write_text(json.dumps(longer))
    extended = reader.read()
    shutil.rmtree(folder)
    other = sample.trial(sample.params(), accuracy=50.0, ratio=2.0)
    sample.write_record(folder, [other], plan_content={**longer, "created_at": "2026-01-01T00:00"})

    assert extended.plan.plan["trials"] == 96
    assert len(extended.trials) == 2
    assert [trial.val_score for trial in reader.read().trials] == [50.0]


def test_damage_that_comes_while_a_record_is_watched_is_refused(growing):
    folder, _, reader = growing
    with (folder / "journal.log").open("ab") as journal:
        journal.write(b"{\x00\n{}\n")
    with pytest.raises(RecordReadError, match=r"journal\.log is damaged at line"):
        reader.read()


def test_a_damaged_attribute_is_named(sample, study):
    broken = sample.trial(sample.params(), accuracy=70.0, ratio=3.0)
    del broken["attributes"]["outcome"]["train_seconds"]
    with pytest.raises(RecordReadError, match=r"t0000 is damaged.*train_seconds"):
        study([broken])


def test_a_storage_named_by_url_is_read(tmp_path, sample):
    url = f"sqlite:///{tmp_path / 'record.db'}"
    (tmp_path / "plan.json").write_text(json.dumps(sample.plan("far", storage=url)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stored = optuna.create_study(
            study_name="far", storage=url, directions=["maximize", "minimize"]
        )
        stored.set_user_attr("teacher", sample.teacher())
    assert read_record(tmp_path).teacher.params_m == 23.52
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "t0007.pt2").write_bytes(b"weights")
    assert read_record(tmp_path).teacher.params_m == 23.52  # it needs no journal


def test_a_relative_file_of_sqlite_is_looked_for_where_the_study_was_started(
    tmp_path, sample, monkeypatch
):
    started, elsewhere, folder = (tmp_path / name for name in ("started", "elsewhere", "near"))
    for each in (started, elsewhere, folder):
        each.mkdir()
    content = {**sample.plan("near", storage="sqlite:///r.db"), "directory": str(started)}
    (folder / "plan.json").write_text(json.dumps(content))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stored = optuna.create_study(
            study_name="near",
            storage=f"sqlite:///{started / 'r.db'}",
            directions=["maximize", "minimize"],
        )
        stored.set_user_attr("teacher", sample.teacher())
    monkeypatch.chdir(elsewhere)

    assert read_record(folder).teacher.params_m == 23.52
    assert list(elsewhere.iterdir()) == []


def test_a_file_of_sqlite_that_is_not_there_is_named_and_not_made(tmp_path, sample, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "far"
    folder.mkdir()
    for url in ("sqlite:///r.db", f"sqlite:///{tmp_path / 'r.db'}"):
        (folder / "plan.json").write_text(json.dumps(sample.plan("far", storage=url)))
        with pytest.raises(RecordReadError, match=r"/r\.db, which is not there"):
            read_record(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["far"]


def test_a_storage_that_cannot_be_reached_is_refused_without_its_password(tmp_path, sample):
    url = f"sqlite://me:s3cret@/{tmp_path}/none/record.db"
    (tmp_path / "plan.json").write_text(json.dumps(sample.plan("far", storage=url)))
    with pytest.raises(RecordReadError, match="'far' cannot be read") as refusal:
        read_record(tmp_path)
    assert "s3cret" not in str(refusal.value)


def test_the_result_classes_import_nothing_heavy():
    code = (
        "import sys, analysis.results, analysis.record, analysis.report\n"
        "import analysis.charts.front_chart\n"
        "heavy = {'torch', 'ray', 'mlflow', 'optuna', 'pandas', 'plotly', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
