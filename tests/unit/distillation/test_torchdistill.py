"""The losses against torchdistill's (1.1.5), where it is installed: another hand's code.

It has no decoupled distillation, no hard labels and no subclasses: those stand on closed forms.
Its similarity-preserving loss is no judge of README's: it divides rows by their L1 norm, the paper
(Tung and Mori 2019, section 3.1) by their L2 norm.
"""

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor

from study.distillation.losses import cross_entropy
from study.distillation.methods import Answers, build

pytest.importorskip("torchdistill", reason="the check against torchdistill needs it")

LABELS = torch.arange(16) % 10


def random(seed: int, *shape: int, scale: float = 3.0) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=draws, dtype=torch.float64)


def judge(name: str, student: Tensor, teacher: Tensor, **arguments: Any) -> Tensor:
    """What torchdistill's loss called `name` says of two networks' logits."""
    kind = getattr(importlib.import_module("torchdistill.losses.mid_level"), name)
    found: Tensor = kind(".", "output", ".", "output", **arguments)(
        {".": {"output": student}}, {".": {"output": teacher}}, LABELS
    )
    return found


@pytest.mark.parametrize("scale", [0.5, 3.0])
@pytest.mark.parametrize(
    ("params", "name", "arguments", "with_labels"),
    [
        # Their alpha is the weight of the labels.
        ({"terms": "weighted", "temperature": 4.0, "alpha": 0.9}, "KDLoss",
         {"temperature": 4.0, "alpha": 0.1}, True),
        ({"terms": "ce+kl", "temperature": 1.0}, "KDLoss",
         {"temperature": 1.0, "alpha": 1.0, "beta": 1.0}, True),
        ({"method": "targets", "targets": "mixed", "temperature": 2.0, "alpha": 0.4}, "KDLoss",
         {"temperature": 2.0, "alpha": 0.6}, True),
        ({"method": "patient", "temperature": 1.0}, "KDLoss",
         {"temperature": 1.0, "alpha": 0.0}, True),
        ({"method": "dist"}, "DISTLoss", {"tau": 4.0}, False),
        ({"method": "dist", "temperature": 1.0, "inter_weight": 2.0, "intra_weight": 3.0},
         "DISTLoss", {"beta": 2.0, "gamma": 3.0}, False),
        ({"method": "logit_std"}, "LogitStdKDLoss",
         {"temperature": 2.0, "alpha": 0.1, "beta": 9}, True),
    ],
)  # fmt: skip
def test_torchdistill_computes_the_same_value_and_gradient(
    params: dict[str, Any], name: str, arguments: dict[str, Any], with_labels: bool, scale: float
) -> None:
    student = random(0, 16, 10, scale=scale).requires_grad_()
    teacher = random(1, 16, 10, scale=scale)
    theirs = judge(name, student, teacher, **arguments)
    if not with_labels:
        theirs = theirs + cross_entropy(student, LABELS)
    ours = build(params).loss(Answers(student, LABELS, teacher))["loss"]
    assert torch.allclose(ours, theirs, rtol=1e-6)
    gradients = [torch.autograd.grad(loss, student)[0] for loss in (ours, theirs)]
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-5, atol=1e-9)
