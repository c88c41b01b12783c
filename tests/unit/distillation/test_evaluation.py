"""Scores, against those computed in one piece."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import nn
from torch.nn import functional

from study.distillation.evaluation import evaluate
from study.distillation.image_data import Split
from study.distillation.views import normalise, to_nchw

CPU = torch.device("cpu")
MEAN, STD = (0.4, 0.5, 0.6), (0.25, 0.25, 0.2)
GENERATOR = np.random.default_rng(0)
VALIDATION = Split(
    GENERATOR.integers(0, 256, (50, 8, 8, 3), dtype=np.uint8), GENERATOR.integers(0, 4, 50)
)


def with_dropout() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192), nn.Dropout(0.3), nn.Linear(192, 4))


def test_scores_are_those_of_the_whole_split_in_eval_mode() -> None:
    model = with_dropout().train()
    loss, accuracy = evaluate(model, VALIDATION, MEAN, STD, CPU, batch_size=7)
    assert model.training
    with torch.no_grad():
        logits = model.eval()(normalise(to_nchw(torch.from_numpy(VALIDATION.images)), MEAN, STD))
    labels = torch.from_numpy(VALIDATION.labels)
    assert loss == pytest.approx(functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert accuracy == pytest.approx(100 * (logits.argmax(1) == labels).double().mean().item())
    assert evaluate(model, VALIDATION, MEAN, STD, CPU) == pytest.approx((loss, accuracy), rel=1e-5)


def test_a_model_is_scored_by_what_is_named() -> None:
    model = with_dropout()
    with torch.no_grad():
        logits = model.eval()(normalise(to_nchw(torch.from_numpy(VALIDATION.images)), MEAN, STD))
    expected = f1_score(VALIDATION.labels, logits.argmax(1), average="weighted")

    assert evaluate(model, VALIDATION, MEAN, STD, CPU, batch_size=7, by="weighted F1")[
        1
    ] == pytest.approx(100 * expected)
