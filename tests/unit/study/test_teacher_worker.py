"""What is found of a teacher once, for all studies that ask it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces.mnist_dense import SPACE as MNIST_DENSE
from study.distillation.image_data import Augmentation, ImageData, Split, assemble
from study.distillation.teacher_recipe import TeacherRecipe
from study.teacher_worker import TESTED_FILE, TeacherRequest, _test_score

KEY, CPU = "resnet-key", torch.device("cpu")


@pytest.fixture
def data() -> ImageData:
    def split(count: int) -> Split:
        labels = np.arange(count, dtype=np.int64) % 2
        return Split(np.full((count, 8, 8, 1), 40, np.uint8), labels)

    return assemble(
        *("made", ("dark", "light"), split(20), split(10)),
        validation_fraction=0.25,
        augmentation=Augmentation(0, False),
        source="made here",
    )


@pytest.fixture
def request_(tmp_path: Path) -> TeacherRequest:
    (tmp_path / KEY).mkdir()
    return TeacherRequest(
        recipe=TeacherRecipe(depths=(1, 1, 1, 1), epochs=0),
        checkpoint=None,
        teachers=str(tmp_path),
        seed=0,
        views=1,
        outputs=False,
        network=False,
        space=MNIST_DENSE,
        precision="float32",
        asked_precision="float32",
        threads=1,
        trial_threads=1,
        on_gpu=False,
    )


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))


def test_a_kept_teacher_is_scored_on_the_test_split_once(
    request_: TeacherRequest, data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _test_score(request_, data, network(), KEY, CPU)
    monkeypatch.setattr("study.distillation.evaluation.evaluate", None)

    assert first == 50.0  # all images are alike, and half of them of each class
    assert _test_score(request_, data, network(), KEY, CPU) == first


@pytest.mark.parametrize("kept", ["", "[]", '{"test_score": 99.0}'])
def test_what_is_kept_of_other_data_or_damaged_is_not_believed(
    request_: TeacherRequest, data: ImageData, kept: str
) -> None:
    (Path(request_.teachers) / KEY / TESTED_FILE).write_text(kept)
    assert _test_score(request_, data, network(), KEY, CPU) == 50.0

    path = Path(request_.teachers) / KEY / TESTED_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "test_score": 99.0}))
    assert _test_score(request_, data, network(), KEY, CPU) == 99.0
    assert _test_score(request_, replace(data, content_hash="0" * 64), network(), KEY, CPU) == 50.0
