"""The losses against values that torchdistill (1.1.5) computed: another hand's code.

It has no decoupled distillation, no hard labels and no subclasses: those stand on closed forms.
Its similarity-preserving loss is no judge of README's: it divides rows by their L1 norm, the paper
(Tung and Mori 2019, section 3.1) by their L2 norm.

It is in none of the extras, so what it said is kept here. It says so again by

    pip install --no-deps torchdistill==1.1.5
    python -m tests.unit.distillation.test_torchdistill
"""

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor

from study.distillation.losses import cross_entropy
from study.distillation.methods import Answers, build

LABELS = torch.arange(16) % 10


def made_up(seed: int, scale: float = 3.0) -> Tensor:
    """Logits of 16 examples, which every version of torch makes alike."""
    places = torch.arange(160, dtype=torch.float64).reshape(16, 10)
    return scale * 1.4 * torch.sin((7.3 + seed) * places + seed)


def told(loss: Tensor, student: Tensor) -> tuple[float, float, float]:
    """A loss, and its gradient's length and product with some other logits."""
    (gradient,) = torch.autograd.grad(loss, student)
    return loss.item(), gradient.norm().item(), (gradient * made_up(2)).sum().item()


# How a method is asked for here; which loss with which arguments is the same there, and whether
# with the labels; what that one tells of narrow logits and of wide ones.
CASES: list[tuple[dict[str, Any], str, dict[str, Any], bool, dict[float, tuple[float, ...]]]] = [
    # Their alpha is the weight of the labels.
    ({"terms": "weighted", "temperature": 4.0, "alpha": 0.9}, "KDLoss",
     {"temperature": 4.0, "alpha": 0.1}, True,
     {0.5: (0.4545848598, 0.05672563496, 0.02860186975),
      3.0: (7.38303442, 0.2724032753, 0.001630415808)}),
    ({"terms": "ce+kl", "temperature": 1.0}, "KDLoss",
     {"temperature": 1.0, "alpha": 1.0, "beta": 1.0}, True,
     {0.5: (2.602300723, 0.2506386685, 0.1580629395),
      3.0: (8.032936377, 0.3631529487, -0.04929366105)}),
    ({"method": "targets", "targets": "mixed", "temperature": 2.0, "alpha": 0.4}, "KDLoss",
     {"temperature": 2.0, "alpha": 0.6}, True,
     {0.5: (1.519724435, 0.1473039203, 0.0966194136),
      3.0: (5.089903146, 0.2129118376, 0.02287781261)}),
    ({"method": "patient", "temperature": 1.0}, "KDLoss",
     {"temperature": 1.0, "alpha": 0.0}, True,
     {0.5: (0.2285415382, 0.05168663799, 0.004511292338),
      3.0: (3.435115994, 0.1589317756, -0.1452673622)}),
    ({"method": "dist"}, "DISTLoss", {"tau": 4.0}, False,
     {0.5: (34.42808169, 5.249623738, 1.004182318),
      3.0: (35.19292829, 1.096290212, -5.678216598)}),
    ({"method": "dist", "temperature": 1.0, "inter_weight": 2.0, "intra_weight": 3.0},
     "DISTLoss", {"beta": 2.0, "gamma": 3.0}, False,
     {0.5: (7.248194079, 0.9451365315, -2.802436452),
      3.0: (9.048650019, 0.4419725123, -3.110486096)}),
    ({"method": "logit_std"}, "LogitStdKDLoss",
     {"temperature": 2.0, "alpha": 0.1, "beta": 9}, True,
     {0.5: (8.013755727, 1.221946575, 0.6431711622),
      3.0: (8.236164239, 0.2061425128, 0.1142334064)}),
]  # fmt: skip


def judged(
    name: str, arguments: dict[str, Any], with_labels: bool, scale: float
) -> tuple[float, ...]:
    """What torchdistill's loss called `name` says of two networks' logits."""
    student, teacher = made_up(0, scale).requires_grad_(), made_up(1, scale)
    kind = getattr(importlib.import_module("torchdistill.losses.mid_level"), name)
    found: Tensor = kind(".", "output", ".", "output", **arguments)(
        {".": {"output": student}}, {".": {"output": teacher}}, LABELS
    )
    return told(found if with_labels else found + cross_entropy(student, LABELS), student)


@pytest.mark.parametrize("scale", [0.5, 3.0])
@pytest.mark.parametrize(("params", "name", "arguments", "with_labels", "expected"), CASES)
def test_torchdistill_computes_the_same_value_and_gradient(
    params: dict[str, Any],
    name: str,
    arguments: dict[str, Any],
    with_labels: bool,
    expected: dict[float, tuple[float, ...]],
    scale: float,
) -> None:
    student, teacher = made_up(0, scale).requires_grad_(), made_up(1, scale)
    ours = build(params).loss(Answers(student, LABELS, teacher))["loss"]
    assert told(ours, student) == pytest.approx(expected[scale], rel=1e-6)


if __name__ == "__main__":
    for _, *case, _ in CASES:
        print(*case[:2], {scale: judged(*case, scale) for scale in (0.5, 3.0)})
