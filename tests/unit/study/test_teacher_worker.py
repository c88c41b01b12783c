"""What is found of a teacher once, for all studies that ask it."""

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces.mnist_dense import SPACE as MNIST_DENSE
from study.death import UnfitWorker
from study.distillation.evaluation import evaluate
from study.distillation.image_data import Augmentation, ImageData, Split, assemble
from study.distillation.teacher_network import build_network
from study.distillation.teacher_recipe import TeacherRecipe
from study.distillation.views import Normalizer, to_nchw
from study.teacher_worker import TESTED_FILE, TeacherRequest, _test_score, prepare_teacher

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


def test_what_was_scored_with_other_statistics_is_not_believed(
    request_: TeacherRequest, data: ImageData
) -> None:
    imagenet = replace(request_, recipe=replace(request_.recipe, statistics="imagenet"))
    path = Path(request_.teachers) / KEY / TESTED_FILE
    for asked, other in ((request_, imagenet), (imagenet, request_)):
        path.unlink(missing_ok=True)
        _test_score(asked, data, network(), KEY, CPU)
        path.write_text(json.dumps({**json.loads(path.read_text()), "test_score": 99.0}))
        assert _test_score(asked, data, network(), KEY, CPU) == 99.0
        assert _test_score(other, data, network(), KEY, CPU) == 50.0


@pytest.mark.parametrize("statistics", ["data", "imagenet"])
def test_a_teacher_of_one_s_own_sees_images_as_it_was_trained_with_them(
    statistics: Any, request_: TeacherRequest, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    labels = np.arange(64, dtype=np.int64) % 2
    images = draw.integers(0, 200, (64, 16, 16, 3), dtype=np.uint8)
    split = Split(images, labels)
    data = assemble(
        *("made", ("one", "two"), split, split),
        validation_fraction=0.25,
        augmentation=Augmentation(0, False),
        source="made here",
    )
    recipe = TeacherRecipe(depths=(1, 1, 1, 1), width_per_group=8, epochs=0, statistics=statistics)
    torch.manual_seed(0)
    own = build_network(recipe, 2, data.shape).eval()
    torch.save(own.state_dict(), tmp_path / "own.pt")
    asked = replace(
        request_,
        recipe=replace(TeacherRecipe(), statistics=statistics),
        checkpoint=str(tmp_path / "own.pt"),
        outputs=True,
        described=False,
    )

    told = dict(prepare_teacher(asked, data, data.train.images))

    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    mean, std = imagenet if statistics == "imagenet" else (data.mean, data.std)
    _, score = evaluate(own, data.validation, mean, std, CPU, classes=2)
    assert told["found"]["val_score"] == score
    assert told["found"]["recipe"].statistics == statistics
    seen = Normalizer(mean, std)(to_nchw(torch.tensor(data.train.images)))
    with torch.no_grad():
        expected = own(seen).numpy()
    answers = np.asarray(told["answers"], np.float32)[0]
    assert np.allclose(answers, expected, atol=2e-3 * np.abs(expected).max())
    other = Normalizer(*(imagenet if statistics == "data" else (data.mean, data.std)))
    with torch.no_grad():
        apart = own(other(to_nchw(torch.tensor(data.train.images)))).numpy()
    assert not np.allclose(answers, apart, atol=2e-3 * np.abs(expected).max())


def test_where_its_folder_does_not_answer_another_worker_is_to_go_on(
    request_: TeacherRequest, data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised = OSError(errno.EIO, "Input/output error")

    def teach(*_: object) -> None:
        raise raised

    monkeypatch.setattr("study.teacher_worker._teach", teach)
    with pytest.raises(UnfitWorker, match="its files are out of reach: OSError"):
        list(prepare_teacher(request_, data, data.train.images))
    raised = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space left"):
        list(prepare_teacher(request_, data, data.train.images))
