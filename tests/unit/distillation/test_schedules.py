"""The schedules, against torch's own where it has one."""

import pytest
import torch

from study.distillation.schedules import SCHEDULES, cosine, one_cycle


@pytest.mark.parametrize("total", [10, 97, 1000])
def test_one_cycle_is_that_of_torch(total: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=total, anneal_strategy="linear", cycle_momentum=False
    )
    for step in range(total):
        assert one_cycle(step, total) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        if step < total - 1:
            scheduler.step()


def test_cosine_rises_quickly_and_falls_to_nearly_nothing() -> None:
    factors = [cosine(step, 200) for step in range(200)]
    assert factors.index(max(factors)) == 10
    assert factors[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert factors[10] == 1.0
    assert factors[105] == pytest.approx(0.5)
    assert factors[199] < 1e-3


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("total", [1, 2, 3, 4, 7, 50])
def test_every_step_of_a_short_training_has_a_rate(schedule, total: int) -> None:  # type: ignore[no-untyped-def]
    factors = [schedule(step, total) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[0] > 0.01
    peak = factors.index(max(factors))
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
