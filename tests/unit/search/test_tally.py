"""Sums over trainings, kept by what changed."""

import random
from dataclasses import replace

from study.search.tally import Tally
from study.search.training import Training, likeliest

FIRST_RUNG = 4


def naive(trainings: list[Training]) -> dict[str, object]:
    alone = [len(t.scores) for t in trainings if t.counts]
    return {
        "epochs": sum(len(t.scores) for t in trainings),
        "spent": sum(alone),
        "beginnings": sum(min(done, FIRST_RUNG) for done in alone),
        "alone": len(alone),
        "scored": sum(done > 0 for done in alone),
        "usable": sum(bool(t.scores) and t.latency_ms is not None for t in trainings),
        "measured": sum(bool(t.latency_ms) for t in trainings),
        "sized": sum(bool(t.size) for t in trainings),
        "running": {t.number: t for t in trainings if t.runs},
        "waiting": [t for t in trainings if t.waits],
    }


def shown(tally: Tally) -> dict[str, object]:
    return {name: getattr(tally, name) for name in naive([])}


def changed(draw: random.Random, training: Training) -> Training:
    runs = draw.random() < 0.5
    return replace(
        training,
        scores=(*training.scores, draw.random()) if draw.random() < 0.7 else training.scores,
        latency_ms=training.latency_ms or draw.choice([None, 1.5]),
        size=training.size or draw.choice([None, 2.0]),
        runs=runs,
        waits=not runs and draw.random() < 0.5,
    )


def test_it_equals_the_sums_over_all_however_trainings_come_and_change() -> None:
    draw = random.Random(0)
    tally, trainings = Tally(FIRST_RUNG), []
    for _ in range(300):
        for _ in range(draw.randrange(3)):
            number = len(trainings)
            alone = draw.random() < 0.8
            trainings.append(Training(number, {}, (), 10, None, runs=True, counts=alone))
        for place in draw.sample(range(len(trainings)), min(len(trainings), draw.randrange(3))):
            trainings[place] = changed(draw, trainings[place])
        tally.update(trainings)
        assert shown(tally) == naive(trainings)
        assert tally.likeliest == likeliest(tally.waiting)
        assert tally.anyone_waits == any(t.waits for t in trainings)
        assert [t.number for t in trainings if tally.waits(t.number)] == [
            t.number for t in trainings if t.waits
        ]


def test_it_begins_anew_with_the_trainings_of_another_study() -> None:
    tally = Tally(FIRST_RUNG)
    tally.update([Training(n, {}, (0.5,), 10, 1.0, waits=True) for n in range(5)])
    other = [Training(0, {}, (), 10, None, runs=True)]
    tally.update(other)
    assert shown(tally) == naive(other)
