"""Training two autoencoders on pairs, X to Y and Y to X, exactly repeatable and resumable.

As in `training`, all that is random is drawn by number: the order of an epoch by `(seed, epoch)`,
its flips by `(view_seed, view)`, one draw for both halves of a pair.
"""

import copy

import torch
from torch import Tensor, nn

from search_spaces.networks.autoencoder import Stages, TranslatorPair
from study.distillation.draws import epoch_draws, lesson_seed
from study.distillation.estimate import mean_seconds
from study.distillation.layout import to_train
from study.distillation.measurement import random_images
from study.distillation.methods.cross_domain import CrossDomain, absolute_error, make_adapter
from study.distillation.pair_data import PairData
from study.distillation.pair_evaluation import (
    PairScores,
    ResidentPairs,
    pair_normalizer,
    score_pairs,
)
from study.distillation.precision import Precision, autocast
from study.distillation.stepping import (
    LossLog,
    steps_between_readings,
)
from study.distillation.trainer import EpochTrainer, TrainingSettings
from study.distillation.views import apply_view, view_draws


class PairTrainer(EpochTrainer):
    """Teaches both directions at once."""

    def __init__(
        self,
        student: TranslatorPair,
        method: CrossDomain,
        data: PairData,
        settings: TrainingSettings,
        device: torch.device,
    ) -> None:
        """Put student and data on the device.

        Args:
            student: Both autoencoders.
            method: Their loss.
            data: The pairs.
            settings: How to train.
            device: Where to.

        Raises:
            ValueError: There are fewer than 2 training pairs.
        """
        if len(data.train) < 2:
            raise ValueError(f"training needs at least 2 pairs, got {len(data.train)}")
        # Of the validation split, after the last epoch.
        self.scores: PairScores | None = None
        self._method = method
        self._augmentation = data.augmentation
        self._train = ResidentPairs.of(data.train, device)
        self._validation = ResidentPairs.of(data.validation, device)
        self._normalize = pair_normalizer(data.shape[2], device)
        # Seeded by themselves: a student with a learnt adapter draws as one without.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(lesson_seed(settings.seed))
            self._adapters = _adapters(student, method).to(device)
        student = to_train(student, device)
        super().__init__(student, self._adapters, settings, device, len(data.train))

    def _validate(self) -> tuple[float, float]:
        """Loss and score of both directions on the validation split."""
        self.scores = score_pairs(self.student, self._validation, self._settings.precision)
        return self.scores.loss, self.scores.score

    def _train_epoch(self, epoch: int) -> float:
        """Take the steps of one epoch; returns the mean loss over the pairs."""
        settings = self._settings
        self._enter(epoch)
        view = settings.view_of(epoch)
        view_seed = settings.seed if settings.view_seed is None else settings.view_seed
        draws = view_draws(view_seed, view, len(self._train), self._augmentation)
        draws = draws.to(self._device)
        order, _ = epoch_draws(settings.seed, epoch, len(self._train))
        log = LossLog(epoch, steps_between_readings(self._device))
        batches = torch.split(order.to(self._device), settings.batch_size)
        for step, picks in enumerate(batches[: self._steps_per_epoch]):
            self.clock.enter("data")
            flips = draws.take(picks)
            x = self._normalize(apply_view(self._train.x[picks], flips))
            y = self._normalize(apply_view(self._train.y[picks], flips))
            rate = self._learning_rate(epoch * self._steps_per_epoch + step)
            self.clock.enter("steps")
            log.add(self._descend(self._loss(x, y), rate), len(picks), rate)
        return log.mean()

    def _loss(self, x: Tensor, y: Tensor) -> Tensor:
        with autocast(self._settings.precision, self._device):
            x_to_y, y_to_x = self.student(x, y)
            features = self._features(x_to_y, y_to_x)
        outputs = x_to_y.output.float(), y_to_x.output.float()
        return self._method.loss(outputs, (y, x), features)["loss"]

    def _features(self, x_to_y: Stages, y_to_x: Stages) -> list[tuple[Tensor, Tensor]]:
        """Maps of each connected encoder and decoder, in the order of the adapters."""
        if self._method.weight == 0:
            return []
        pairs = [(x_to_y, y_to_x), (y_to_x, x_to_y)][: 1 + self._method.mirrored]
        compared = [
            (one.encoded[encoder - 1], other.decoded[decoder - 1])
            for one, other in pairs
            for encoder, decoder in self._method.connections
        ]
        return [
            (encoded.float(), adapt(decoded).float())
            for adapt, (encoded, decoded) in zip(self._adapters, compared, strict=True)
        ]


def training_step_seconds(
    student: TranslatorPair,
    shape: tuple[int, int, int],
    batch_size: int,
    device: torch.device,
    steps: int = 2,
    precision: Precision = "float32",
) -> float:
    """Seconds a pair of images takes in a training step of both directions, unconnected.

    A copy of the networks takes one step to warm up, then `steps` that count.

    Args:
        student: Left as it is.
        shape: `(h, w, c)` of an image.
        batch_size: Pairs a step.
        device: Where it would train.
        steps: Steps to average over.
        precision: What it would train in.
    """
    trained = to_train(copy.deepcopy(student), device).train()
    x, y = random_images(shape, batch_size, 2, device)
    # A rate of 0 costs as much as any, and cannot diverge.
    optimiser = torch.optim.AdamW(trained.parameters(), lr=0.0)

    def step() -> None:
        with autocast(precision, device):
            to_y, to_x = trained(x, y)
        optimiser.zero_grad()
        loss = absolute_error((to_y.output.float(), to_x.output.float()), (y, x))
        torch.autograd.backward(loss)
        optimiser.step()

    return mean_seconds(step, steps, device) / batch_size


def _adapters(student: TranslatorPair, method: CrossDomain) -> nn.ModuleList:
    """One adapter for each connection, and for each mirrored one; part of the training alone."""
    if method.weight == 0:
        return nn.ModuleList()
    return nn.ModuleList(
        make_adapter(method.adapter, student.x_to_y.widths[encoder - 1])
        for _ in range(1 + method.mirrored)
        for encoder, _ in method.connections
    )
