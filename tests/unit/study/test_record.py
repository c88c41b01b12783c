from pathlib import Path

import pytest

from analysis.results import (
    Confirmation,
    EpochResult,
    Latency,
    ModelSize,
    Outcome,
    Ratio,
    ReferencePoint,
    Third,
    Timing,
)
from search_spaces.cifar_blocks import SPACE
from search_spaces.space import configuration_key
from study.proposal import Exhausted, distributions, propose
from study.record import RecordError, StudyRecord, check_storage, now, read_plan_file

TIMING = Timing(2.0, 2.5)


def latency(ratio: float = 2.0) -> Latency:
    low_high = Ratio(ratio, ratio - 0.1, ratio + 0.1)
    return Latency(
        "cpu (test)", 1, "float32", False, 20, TIMING, TIMING, TIMING, TIMING, low_high, low_high
    )


def epoch(number: int, accuracy: float = 50.0) -> EpochResult:
    return EpochResult(number, 1.0, 1.1, accuracy, 0.05, 3.0)


def outcome(status: str = "complete", *, epochs_done: int = 2) -> Outcome:
    trained = status in ("complete", "stopped")
    return Outcome(
        status=status,  # type: ignore[arg-type]
        reason=None if trained else "because",
        epochs_done=epochs_done,
        val_score=60.0 if trained else None,
        latency_ms=5.0 if trained else None,
        train_seconds=6.0,
        finished_at=now(),
    )


def open_record(folder: Path) -> StudyRecord:
    return StudyRecord(folder, "study", None)


def add(record: StudyRecord, **overrides: object) -> int:
    params = SPACE.complete(overrides)  # type: ignore[arg-type]
    return record.add_trial(
        params,
        distributions(SPACE, params),
        source="sampler",
        label=None,
        architecture=SPACE.describe(params),
        epochs=2,
    )


def test_a_trial_reads_back_as_it_was_written(tmp_path: Path) -> None:
    record = open_record(tmp_path)
    record.set_attribute("reference_point", ReferencePoint(10.0, 10.0, 100.0).to_json())
    number = add(record, blocks_2=0)
    record.measured(number, ModelSize(1.5, 30.0, 6_000_000), latency(2.0))
    record.epoch(number, epoch(1))
    record.epoch(number, epoch(2, 60.0))
    record.finish(number, outcome())

    trial = open_record(tmp_path).trial(number)

    assert trial.params == SPACE.complete({"blocks_2": 0})
    assert trial.architecture == "[1,0,1,1] stride 2"
    assert [e.val_score for e in trial.curve] == [50.0, 60.0]
    assert trial.status == "complete"
    assert trial.latency_ms == 5.0
    assert trial.model == ModelSize(1.5, 30.0, 6_000_000)


def test_what_becomes_known_after_the_end_is_kept_too(tmp_path: Path) -> None:
    record = open_record(tmp_path)
    number = add(record)
    record.finish(number, outcome())
    record.set_run_id(number, "run")
    record.confirm(number, Confirmation(91.5, latency(4.0)))

    trial = open_record(tmp_path).trial(number)

    assert trial.mlflow_run_id == "run"
    assert trial.confirmed == Confirmation(91.5, latency(4.0))
    assert trial.latency_ms == 2.0  # the confirmed median, no longer the 5.0 searched by


def test_a_trial_ends_once(tmp_path: Path) -> None:
    record = open_record(tmp_path)
    number = add(record)
    record.finish(number, outcome("complete"))
    record.finish(number, outcome("failed"))

    assert record.trial(number).status == "complete"
    assert record.interrupted() == []


@pytest.mark.parametrize(
    ("status", "told"),
    [("complete", "COMPLETE"), ("stopped", "COMPLETE"), ("failed", "FAIL"), ("infeasible", "FAIL")],
)
def test_each_status_is_told_to_optuna_as_one_state(tmp_path: Path, status: str, told: str) -> None:
    record = open_record(tmp_path)
    number = add(record)
    record.finish(number, outcome(status))

    (frozen,) = record.frozen_trials()

    assert frozen.state.name == told
    assert frozen.values == ([60.0, 5.0] if told == "COMPLETE" else None)


@pytest.mark.parametrize(("third", "value"), [("params_m", 1.5), ("flops_m", 30.0)])
def test_a_third_objective_is_told_to_optuna_and_kept_small(
    tmp_path: Path, third: Third, value: float
) -> None:
    record = StudyRecord(tmp_path, "study", None, third)
    number = add(record)
    record.measured(number, ModelSize(1.5, 30.0, 6_000_000), latency())
    record.finish(number, outcome())
    unmeasured = add(record, blocks_2=0)
    record.finish(unmeasured, outcome())

    told, failed = record.frozen_trials()

    assert [direction.name for direction in record.study.directions][1:] == ["MINIMIZE"] * 2
    assert told.values == [60.0, 5.0, value]
    assert failed.state.name == "FAIL"


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_samplers_propose_for_three_objectives(tmp_path: Path, sampler: str) -> None:
    record = StudyRecord(tmp_path, "study", None, "params_m")
    for blocks in (0, 1, 2):
        number = add(record, blocks_2=blocks)
        record.measured(number, ModelSize(1.5 + blocks, 30.0, 6_000_000), latency())
        record.finish(number, outcome())
    tried = {configuration_key(trial.params) for trial in record.trials()}

    params = propose(record.study, SPACE, sampler=sampler, seed=0, number=3, tried=tried)

    assert configuration_key(params) not in tried


def test_trials_without_an_outcome_are_the_interrupted_ones(tmp_path: Path) -> None:
    record = open_record(tmp_path)
    first, second = add(record), add(record, blocks_2=0)
    record.finish(first, outcome())

    assert open_record(tmp_path).interrupted() == [second]


def test_an_outcome_that_was_not_told_yet_is_told_on_opening(tmp_path: Path) -> None:
    record = open_record(tmp_path)
    number = add(record)
    record._set(number, "outcome", outcome().to_json())  # killed between the two writes

    assert open_record(tmp_path).interrupted() == []
    assert open_record(tmp_path).frozen_trials()[number].state.name == "COMPLETE"


def test_a_torn_last_line_of_the_journal_is_forgotten(tmp_path: Path) -> None:
    record = open_record(tmp_path)
    add(record)
    with (tmp_path / "journal.log").open("a") as journal:
        journal.write('{"op_code": 4, "worker')

    again = open_record(tmp_path)

    assert len(again.trials()) == 1
    assert add(again, blocks_2=0) == 1
    assert len(open_record(tmp_path).trials()) == 2


def test_one_architecture_has_one_latency(tmp_path: Path) -> None:
    record = open_record(tmp_path)
    first, second = add(record), add(record, temperature=2.0)
    record.measured(first, ModelSize(1.0, 2.0, 3), latency(2.0))
    record.measured(second, ModelSize(1.0, 2.0, 3), latency(9.0))

    assert record.trial(second).latency == latency(2.0)

    again = open_record(tmp_path)
    third, other = add(again, temperature=3.0), add(again, blocks_2=0)
    again.measured(third, ModelSize(1.0, 2.0, 3), latency(9.0))
    again.measured(other, ModelSize(4.0, 5.0, 6), latency(5.0))

    assert again.trial(third).latency == latency(2.0)
    assert again.trial(other).latency == latency(5.0)
    assert again.known_student("[1,0,1,1] stride 2") == (ModelSize(4.0, 5.0, 6), latency(5.0))
    assert again.known_student("another") is None


def test_studies_of_one_database_keep_their_trials_apart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'record.db'}"
    one, two = (StudyRecord(tmp_path, name, url) for name in ("one", "two"))
    for number in range(3):
        assert add(one, temperature=1.0 + number) == number
        assert add(two, temperature=11.0 + number) == number
        one.epoch(number, epoch(1, 20.0 + number))
        two.epoch(number, epoch(1, 40.0 + number))
    two.finish(1, outcome())

    assert [trial.val_score for trial in one.trials()] == [20.0, 21.0, 22.0]
    assert [trial.val_score for trial in two.trials()] == [40.0, 60.0, 42.0]
    assert one.trial(1).status == "running"
    assert two.trial(1).params["temperature"] == 12.0


def test_storage_urls_are_checked_without_connecting() -> None:
    assert check_storage(None) is None
    assert check_storage("sqlite:///a.db") is None
    assert check_storage("postgresql+psycopg://me@db/studies") is None
    assert "postgresql" in (check_storage("a.db") or "")
    assert "postgresql" in (check_storage("redis://a") or "")


def test_a_damaged_plan_file_is_refused_by_name(tmp_path: Path) -> None:
    assert read_plan_file(tmp_path) is None
    (tmp_path / "plan.json").write_text('{"format": 1')

    with pytest.raises(RecordError, match=r"plan\.json"):
        read_plan_file(tmp_path)


def test_a_record_that_was_lost_beside_its_students_is_not_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "t0000").mkdir(parents=True)

    with pytest.raises(RecordError, match=r"journal\.log is missing though the study has students"):
        StudyRecord(tmp_path, "s", None)

    assert not (tmp_path / "journal.log").exists()


# Proposals


def tried(record: StudyRecord) -> set[object]:
    return {configuration_key(trial.params) for trial in record.trials()}


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_no_configuration_is_proposed_twice(tmp_path: Path, sampler: str) -> None:
    small = SPACE.with_fixed(
        {
            "terms": "ce",
            "learning_rate": 0.05,
            "schedule": "onecycle",
            "batch_size": 64,
            "width": 16,
            "stem_stride": 2,
            "blocks_3": 0,
            "blocks_4": 0,
        }
    )
    record = open_record(tmp_path)
    assert small.configurations() == 6

    for number in range(6):
        params = propose(
            record.study, small, sampler=sampler, seed=0, number=number, tried=tried(record)
        )
        record.add_trial(
            params,
            distributions(small, params),
            source="sampler",
            label=None,
            architecture="a",
            epochs=1,
        )

    assert len(tried(record)) == 6
    with pytest.raises(Exhausted):
        propose(record.study, small, sampler=sampler, seed=0, number=6, tried=tried(record))


def test_a_proposal_depends_on_the_record_alone(tmp_path: Path) -> None:
    record = open_record(tmp_path)
    for blocks in (0, 1, 2):
        number = add(record, blocks_2=blocks)
        record.finish(number, outcome())
    again = open_record(tmp_path)

    first, second = (
        propose(r.study, SPACE, sampler="tpe", seed=7, number=3, tried=tried(r))
        for r in (record, again)
    )
    other_seed = propose(record.study, SPACE, sampler="tpe", seed=8, number=3, tried=tried(record))

    assert first == second
    assert first != other_seed


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_sampler_learns_from_many_trials_and_leaves_the_record_alone(
    tmp_path: Path, sampler: str
) -> None:
    record = open_record(tmp_path)
    for number in range(25):  # TPE draws at random until it has seen ten
        params = propose(
            record.study, SPACE, sampler=sampler, seed=0, number=number, tried=tried(record)
        )
        assert add(record, **params) == number
        if number % 5:  # some are still running
            record.finish(number, outcome())
    again = open_record(tmp_path)
    before = (tmp_path / "journal.log").read_bytes()

    drawn = [
        propose(r.study, SPACE, sampler=sampler, seed=0, number=25, tried=tried(r))
        for r in (record, again)
    ]

    assert drawn[0] == drawn[1]
    assert (tmp_path / "journal.log").read_bytes() == before


def test_what_breaks_a_constraint_is_not_proposed(tmp_path: Path) -> None:
    record = open_record(tmp_path)
    for number in range(20):
        params = propose(
            record.study,
            SPACE,
            sampler="random",
            seed=0,
            number=number,
            tried=(),
            refuse=lambda params: params["width"] == 64,
        )
        assert params["width"] != 64


def test_a_replicate_reads_back_as_another_run_of_its_first(tmp_path: Path) -> None:
    record = open_record(tmp_path)
    first = add(record, blocks_2=0)
    record.finish(first, outcome())
    again = record.add_replicate(first, 2)

    trial, once = open_record(tmp_path).trial(again), open_record(tmp_path).trial(first)

    assert (trial.replicate_of, trial.run, trial.source) == (first, 2, "replicate")
    assert (trial.params, trial.architecture, trial.epochs) == (
        *(once.params, once.architecture),
        once.epochs,
    )
    assert (once.replicate_of, once.run, once.control_of) == (None, 0, None)
    assert once.searched
    assert not trial.searched
    assert record.interrupted() == [again]


def test_a_control_of_the_front_names_for_whom_it_was_trained(tmp_path: Path) -> None:
    record = open_record(tmp_path)
    member = add(record)
    params = SPACE.control_of(record.trial(member).params)
    number = record.add_trial(
        params,
        distributions(SPACE, params),
        source="control",
        label=None,
        architecture=SPACE.describe(params),
        epochs=2,
        control_of=member,
    )

    control = open_record(tmp_path).trial(number)

    assert (control.control_of, control.source, control.run) == (member, "control", 0)
    assert not control.searched


def test_an_idle_latency_stands_once_it_is_known(tmp_path: Path) -> None:
    record = open_record(tmp_path)
    number = add(record)
    record.finish(number, outcome())
    architecture = record.trial(number).architecture

    record.timed(architecture, latency(4.0))
    record.timed(architecture, latency(5.0))

    trial = open_record(tmp_path).trial(number)
    assert trial.idle_latency == latency(4.0)
    assert trial.test_score is None
