"""Training two autoencoders on pairs, X to Y and Y to X, exactly repeatable and resumable.

As in `training`, all that is random is drawn by number: the order of an epoch by `(seed, epoch)`,
its flips by `(view_seed, view)`, one draw for both halves of a pair.
"""

import copy
import math
import time
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.networks.autoencoder import Stages, TranslatorPair
from study.distillation.draws import epoch_draws, lesson_seed
from study.distillation.estimate import mean_seconds
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
from study.distillation.schedules import SCHEDULES
from study.distillation.stepping import (
    Diverged,
    LossLog,
    make_optimizer,
    on_cpu,
    steps_between_readings,
)
from study.distillation.training import EpochMetrics, TrainingSettings
from study.distillation.views import apply_view, view_draws


class PairTrainer:
    """Teaches both directions at once; the interface is that of `training.StudentTrainer`."""

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
        self.epochs_done = 0
        self.exit_scores: tuple[tuple[float, float], ...] = ()
        # Of the validation split, after the last epoch.
        self.scores: PairScores | None = None
        self.student = student.to(device).to(memory_format=torch.channels_last)
        self._method = method
        self._settings = settings
        self._device = device
        self._augmentation = data.augmentation
        self._train = ResidentPairs.of(data.train, device)
        self._validation = ResidentPairs.of(data.validation, device)
        self._normalize = pair_normalizer(data.shape[2], device)
        # Seeded by themselves: a student with a learnt adapter draws as one without.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(lesson_seed(settings.seed))
            self._adapters = _adapters(student, method).to(device)
        self._optimizer = make_optimizer((self.student, self._adapters), settings)
        full, left = divmod(len(data.train), settings.batch_size)
        # Batch normalisation has no variance over one image.
        self._steps_per_epoch = full + (left > 1)

    def run_epoch(self) -> EpochMetrics:
        """Train for one epoch and score both directions on the validation split.

        Raises:
            Diverged: A loss is not finite; names epoch, step and learning rate.
            RuntimeError: All epochs are done.
        """
        if self.epochs_done >= self._settings.epochs:
            raise RuntimeError(f"all {self._settings.epochs} epochs are done")
        self._wait_for_device()
        start = time.perf_counter()
        train_loss = self._train_epoch(self.epochs_done)
        self._wait_for_device()
        seconds = time.perf_counter() - start
        rate = self._learning_rate((self.epochs_done + 1) * self._steps_per_epoch - 1)
        scores = score_pairs(self.student, self._validation, self._settings.precision)
        self.epochs_done += 1
        if not math.isfinite(scores.loss):
            raise Diverged(
                f"the validation loss is {scores.loss} after epoch {self.epochs_done} "
                f"(learning rate {rate:.3g})"
            )
        self.scores = scores
        return EpochMetrics(self.epochs_done, train_loss, scores.loss, scores.score, rate, seconds)

    def state(self) -> dict[str, Any]:
        """Everything that resuming needs: CPU tensors and JSON, copied, safe to keep and save."""
        return {
            "epochs_done": self.epochs_done,
            "settings": asdict(self._settings),
            "model": on_cpu(self.student.state_dict()),
            "lesson": on_cpu(self._adapters.state_dict()),
            "optimizer": on_cpu(self._optimizer.state_dict()),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`, which stays as it is.

        Raises:
            ValueError: It was reached under other settings (another precision is let pass).
        """
        for name, value in asdict(self._settings).items():
            if name != "precision" and state["settings"][name] != value:
                raise ValueError(
                    f"the state was reached with {name} {state['settings'][name]}, not {value}"
                )
        self.student.load_state_dict(state["model"])
        self._adapters.load_state_dict(state["lesson"])
        # The optimiser would otherwise go on in the caller's tensors.
        self._optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.epochs_done = state["epochs_done"]

    def _train_epoch(self, epoch: int) -> float:
        """Take the steps of one epoch; returns the mean loss over the pairs."""
        settings = self._settings
        self.student.train()
        view = epoch % settings.views
        view_seed = settings.seed if settings.view_seed is None else settings.view_seed
        draws = view_draws(view_seed, view, len(self._train), self._augmentation)
        draws = draws.to(self._device)
        order, _ = epoch_draws(settings.seed, epoch, len(self._train))
        log = LossLog(epoch, steps_between_readings(self._device))
        batches = torch.split(order.to(self._device), settings.batch_size)
        for step, picks in enumerate(batches[: self._steps_per_epoch]):
            flips = draws.take(picks)
            x = self._normalize(apply_view(self._train.x[picks], flips))
            y = self._normalize(apply_view(self._train.y[picks], flips))
            rate = self._learning_rate(epoch * self._steps_per_epoch + step)
            log.add(self._step(x, y, rate), len(picks), rate)
        return log.mean()

    def _step(self, x: Tensor, y: Tensor, rate: float) -> Tensor:
        """One step of the optimiser; returns the batch's loss, on the device."""
        with autocast(self._settings.precision, self._device):
            x_to_y, y_to_x = self.student(x, y)
            features = self._features(x_to_y, y_to_x)
        outputs = x_to_y.output.float(), y_to_x.output.float()
        loss = self._method.loss(outputs, (y, x), features)["loss"]
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        return loss.detach()

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

    def _learning_rate(self, step: int) -> float:
        total = self._settings.epochs * self._steps_per_epoch
        return self._settings.learning_rate * SCHEDULES[self._settings.schedule](step, total)

    def _wait_for_device(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


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
    trained = copy.deepcopy(student).to(device).to(memory_format=torch.channels_last).train()
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
