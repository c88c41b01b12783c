"""Mixed images: drawn by number, the same for both networks, and exactly resumable."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search_spaces.networks.resnet import ResidualSpec, build
from study.distillation import checkpoint, methods
from study.distillation.draws import Mix, epoch_draws, mix_draw
from study.distillation.image_data import Augmentation, Split
from study.distillation.lesson import Batch, Lesson
from study.distillation.teacher_source import CachedTeacher, LiveTeacher
from study.distillation.training import StudentTrainer, TrainingData, TrainingSettings
from study.distillation.views import Normalizer, normalise

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
CLASSES, COUNT = 4, 70
OURS = ((0.4, 0.5, 0.6), (0.25, 0.25, 0.2))
THEIRS = ((0.5, 0.5, 0.5), (0.5, 0.4, 0.3))
GENERATOR = np.random.default_rng(0)
SPLIT = Split(
    GENERATOR.integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8),
    GENERATOR.integers(0, CLASSES, COUNT),
)
DATA = TrainingData(SPLIT, SPLIT, *OURS, Augmentation(pad=1, flip=True))
SETTINGS = TrainingSettings(3, 16, 0.05, "cosine", views=2, seed=5)
PATIENT = methods.build({"method": "patient"})


def residual(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build(ResidualSpec((1, 1, 0, 0), "cifar", 1, width=8), CLASSES)


class Watched(nn.Module):
    """A network that keeps the images it was shown."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.network = residual(seed)
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach().clone())
        logits: Tensor = self.network(images)
        return logits


def trainer(
    student: nn.Module, teacher: nn.Module, method: methods.Method = PATIENT
) -> StudentTrainer:
    return StudentTrainer(student, method, DATA, LiveTeacher(teacher, *THEIRS), SETTINGS, CPU)


def pixels(normalised: Tensor, statistics: tuple[tuple[float, ...], ...]) -> Tensor:
    """Back to the scale 0..255."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in statistics)
    return (normalised * std + mean) * 255


def test_a_mix_is_the_weighted_sum_of_an_image_and_its_partner() -> None:
    images = torch.from_numpy(SPLIT.images[:3]).permute(0, 3, 1, 2)
    mixed = Mix(0.75, torch.tensor([1, 2, 2])).of(images)
    x = images.double()
    expected = 0.75 * x + 0.25 * x[[1, 2, 2]]
    assert mixed.dtype == torch.float32
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(mixed.double(), expected, atol=1e-4)
    assert torch.equal(Mix(1.0, torch.tensor([1, 2, 0])).of(images), images.float())
    assert torch.equal(Mix(0.0, torch.tensor([1, 2, 0])).of(images), images[[1, 2, 0]].float())


def test_mixing_pixels_is_mixing_normalised_images() -> None:
    images = torch.from_numpy(SPLIT.images[:8]).permute(0, 3, 1, 2)
    mix = Mix(0.3, torch.arange(7, -1, -1))
    normalised = normalise(images, *OURS)
    after = 0.3 * normalised + 0.7 * normalised.flip(0)
    mixed = mix.of(images)
    kept = mixed.clone()
    assert torch.allclose(Normalizer(*OURS)(mixed), after, atol=1e-5)
    assert torch.equal(mixed, kept)  # for the next network


def test_draws_follow_their_numbers_alone() -> None:
    first = mix_draw(5, 1, 2, 16, 1.0)
    assert first is not None
    assert sorted(first.partners.tolist()) == list(range(16))
    again = mix_draw(5, 1, 2, 16, 1.0)
    assert again is not None
    assert first.weight == again.weight
    assert torch.equal(first.partners, again.partners)
    for seed, epoch, step in ((6, 1, 2), (5, 2, 2), (5, 1, 3)):
        other = mix_draw(seed, epoch, step, 16, 1.0)
        assert other is not None
        assert other.weight != first.weight
        assert not torch.equal(other.partners, first.partners)
    assert not torch.equal(epoch_draws(5, 1, 16)[0], mix_draw(5, 1, 0, 16, 1.0).partners)  # type: ignore[union-attr]
    assert mix_draw(5, 1, 2, 16, 0.0) is None


@pytest.mark.parametrize("concentration", [0.2, 1.0, 4.0])
def test_the_weights_are_those_of_a_beta_distribution(concentration: float) -> None:
    draws = [
        mix_draw(0, epoch, step, 2, concentration) for epoch in range(20) for step in range(99)
    ]
    weights = np.array([draw.weight for draw in draws if draw is not None])
    assert weights.mean() == pytest.approx(0.5, abs=0.03)
    assert weights.var() == pytest.approx(1 / (4 * (2 * concentration + 1)), rel=0.08)


def test_both_networks_see_the_same_mixed_images() -> None:
    student, teacher = Watched(0), Watched(1)
    trainer(student, teacher).run_epoch()
    taught = student.seen[: len(teacher.seen)]  # what follows is the validation
    assert len(teacher.seen) == 5
    for ours, theirs in zip(taught, teacher.seen, strict=True):
        image = pixels(ours, OURS)
        assert torch.allclose(image, pixels(theirs, THEIRS), atol=1e-3)
        assert not torch.allclose(image, image.round(), atol=0.05)  # no image of the data set


def test_the_lesson_mixes_as_the_batch_says() -> None:
    student, teacher = Watched(0), Watched(1)
    images = torch.from_numpy(SPLIT.images[:6]).permute(0, 3, 1, 2)
    lesson = Lesson(
        PATIENT, student, LiveTeacher(teacher, *THEIRS), Normalizer(*OURS), "float32", images[:2]
    )
    rows, mix = torch.arange(6), Mix(0.6, torch.tensor([3, 4, 5, 0, 1, 2]))
    lesson(Batch(images, rows % CLASSES, rows, 0, 0, 3, mix))
    assert torch.allclose(pixels(student.seen[0], OURS), mix.of(images), atol=1e-3)
    assert torch.allclose(pixels(teacher.seen[0], THEIRS), mix.of(images), atol=1e-3)


@pytest.mark.parametrize("params", [{"method": "dkd"}, {"method": "patient", "mixup": 0}])
def test_methods_that_do_not_mix_see_the_images_of_the_data_set(params: dict[str, object]) -> None:
    student, teacher = Watched(0), Watched(1)
    trainer(student, teacher, methods.build(params)).run_epoch()
    for seen in student.seen[:5]:
        image = pixels(seen, OURS)
        assert torch.allclose(image, image.round(), atol=1e-2)


@pytest.mark.parametrize("stop", [1, 2])
def test_a_resumed_training_on_mixed_images_ends_in_the_very_same_weights(
    stop: int, tmp_path: Path
) -> None:
    teacher = residual(9)
    whole = trainer(residual(0), teacher)
    losses = [whole.run_epoch().train_loss for _ in range(3)]

    begun = trainer(residual(0), teacher)
    for _ in range(stop):
        begun.run_epoch()
    checkpoint.save(tmp_path / "last.pt", begun.state())

    resumed = trainer(residual(0), teacher)
    torch.manual_seed(1234)  # a new process is in another random state
    resumed.load_state(checkpoint.load(tmp_path / "last.pt"))
    rest = [resumed.run_epoch().train_loss for _ in range(3 - stop)]

    assert rest == losses[stop:]
    ours, theirs = whole.student.state_dict(), resumed.student.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_table_of_answers_refuses_mixed_images() -> None:
    table = CachedTeacher(np.zeros((2, COUNT, CLASSES), dtype=np.float16))
    run = StudentTrainer(residual(0), PATIENT, DATA, table, SETTINGS, CPU)
    with pytest.raises(ValueError, match="knows no mixed images; ask the network, live"):
        run.run_epoch()
