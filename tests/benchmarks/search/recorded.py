"""What a driver's next trial costs with a real record: the search, and all that it reads for it."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from search_spaces.cifar_blocks import SPACE
from study.guide import Guide
from study.record import StudyRecord
from study.searcher import TrialQueue
from study.waiting import MOST_WAITING
from tests.benchmarks.made_up import (
    Course,
    add,
    begin,
    configurations,
    make_plan,
    without_waiting_for_the_disk,
)


def time_next_task(rungs: Sequence[int], reached: Sequence[int], asks: int) -> list[float]:
    """Seconds of each `TrialQueue.next_task` of a study that goes on, the first ones apart.

    Its record is a journal, written as a driver does. The last hundred trials that are not at their
    end wait, and the others have been given up. Nothing waits for the disk.

    Args:
        rungs: The epochs at which trials wait, and the last one.
        reached: How far each trial on record came, one of the rungs.
        asks: How often to ask.
    """
    last, plan = rungs[-1], make_plan("recorded", 10 * len(reached), rungs[-1])
    assert (plan.sampler, plan.scheduler) == ("latency-first", "pause")
    seconds = []
    with tempfile.TemporaryDirectory() as scratch, without_waiting_for_the_disk():
        record = begin(Path(scratch) / "recorded", plan)
        unfinished = [number for number, done in enumerate(reached) if done < last]
        waiting = set(unfinished[-MOST_WAITING:])
        for (number, done), params in zip(enumerate(reached), configurations(), strict=False):
            add(record, params, last)
            _train(record, number, done, last)
            if done < last and number not in waiting:
                given_up = replace(_course(record, number, last).outcome, status="stopped")
                record.finish(number, replace(given_up, reason="given up", epochs_done=done))
        queue = TrialQueue(record, SPACE, plan, (), lambda: False, Guide(record, SPACE, plan))
        for _ in range(asks + 3):
            begun = time.perf_counter()
            task = queue.next_task()
            seconds.append(time.perf_counter() - begun)
            assert task is not None
            until = next(rung for rung in rungs if rung > record.trial(task.number).epochs_done)
            _train(record, task.number, until, last)
            if until < last:
                queue.waits(task.number)
            else:
                queue.ended(task.number)
    return seconds[3:]


def _course(record: StudyRecord, number: int, epochs: int) -> Course:
    return Course.draw(record.trial(number).architecture, number, epochs)


def _train(record: StudyRecord, number: int, until: int, last: int) -> None:
    """Record that a trial was trained up to an epoch, as its driver does."""
    trial, course = record.trial(number), _course(record, number, last)
    if trial.waits_at is not None:
        record.waits(number, None)
    if trial.model is None:
        record.measured(number, course.model, course.latency)
    for epoch in course.epochs[trial.epochs_done : until]:
        record.epoch(number, epoch)
    if until < last:
        record.waits(number, until)
    else:
        record.finish(number, course.outcome)
