"""What every trainer's steps share: the optimiser, the log of an epoch's losses, copies to keep."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from study.distillation.trainer import TrainingSettings

# Reading a loss makes the processor wait for a GPU, so there it is read this seldom.
_STEPS_BETWEEN_READINGS = 10


def steps_between_readings(device: torch.device) -> int:
    """Return after how many steps losses on `device` are read."""
    return 1 if device.type == "cpu" else _STEPS_BETWEEN_READINGS


class Diverged(RuntimeError):
    """The loss became infinite or not a number; the student is of no further use."""


class LossLog:
    """The losses of an epoch: left on the device, read and checked a few at a time."""

    def __init__(self, epoch: int, steps_between_readings: int) -> None:
        """Begin the log of an epoch (from 0)."""
        self._epoch = epoch
        self._every = steps_between_readings
        self._unread: list[tuple[Tensor, int, float]] = []
        self._steps = 0
        self._total = 0.0
        self._images = 0

    def add(self, loss: Tensor, images: int, rate: float) -> None:
        """Add the loss of a step, a scalar on the device, over so many images at this rate.

        Raises:
            Diverged: One of the losses that are read now is not finite.
        """
        self._unread.append((loss, images, rate))
        if len(self._unread) >= self._every:
            self._read()

    def mean(self) -> float:
        """Return the mean loss over the images.

        Raises:
            Diverged: One of the last losses is not finite.
        """
        self._read()
        return self._total / self._images

    def _read(self) -> None:
        if not self._unread:
            return
        losses = [loss for loss, _, _ in self._unread]
        read = [losses[0].item()] if len(losses) == 1 else torch.stack(losses).tolist()
        for loss, (_, images, rate) in zip(read, self._unread, strict=True):
            self._steps += 1
            if not math.isfinite(loss):
                raise Diverged(
                    f"the loss is {loss} in epoch {self._epoch + 1} at step {self._steps} "
                    f"(learning rate {rate:.3g})"
                )
            self._total += loss * images
            self._images += images
        self._unread.clear()


def make_optimizer(
    modules: Sequence[nn.Module], settings: "TrainingSettings"
) -> torch.optim.Optimizer:
    """Return the optimiser of all that learns in `modules`."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    return optimizer_of(parameters, [p.ndim for p in parameters], settings)


def optimizer_of(
    parameters: Sequence[Tensor], axes: Sequence[int], settings: "TrainingSettings"
) -> torch.optim.Optimizer:
    """Return the optimiser of parameters.

    Weight decay leaves alone what has one axis: biases and normalisation.

    Args:
        parameters: What learns.
        axes: How many axes each has in its network.
        settings: How.
    """
    pairs = list(zip(parameters, axes, strict=True))
    groups = [
        {"params": [p for p, n in pairs if n > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p, n in pairs if n <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    fused = all(p.device.type in ("cpu", "cuda") for p in parameters) or None
    if settings.optimizer == "adam":
        return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=fused)
    return torch.optim.SGD(
        groups,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
        fused=fused,
    )


def forget_gradients(optimizer: torch.optim.Optimizer) -> None:
    """As its `zero_grad`, without what that does for profilers: a tenth of a small step."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def ready_for_capture(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Have an optimiser on a GPU read its learning rate from there, as captured steps need it."""
    if device.type != "cuda":
        return
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=device)
        if "capturable" in group:  # of a state that was saved on a CPU, too
            group["capturable"] = True
            # It is stepped without a capture too, on purpose: nothing to warn of in each trial.
            optimizer._warned_capturable_if_run_uncaptured = True


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Take the next steps at a learning rate."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def with_plain_rates(state: dict[str, Any]) -> dict[str, Any]:
    """An optimiser's state whose learning rates are numbers, as any device can go on from."""
    groups = [{**group, "lr": float(group["lr"])} for group in state["param_groups"]]
    return {**state, "param_groups": groups}


def on_cpu(value: Any) -> Any:
    """Return nested dictionaries and lists with every tensor copied to the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: on_cpu(item) for key, item in value.items()}
    if isinstance(value, list):
        return [on_cpu(item) for item in value]
    return value
