"""A first guess at how long a study will take: a few steps of a network, timed."""

import copy
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from study.distillation.answering import Answering
from study.distillation.deployment import Exits
from study.distillation.layout import to_train
from study.distillation.measurement import Shape, in_eval_mode, random_images
from study.distillation.precision import Precision, autocast
from study.distillation.runtime import Runtime
from study.distillation.serving import serve


def serving_seconds(
    model: nn.Module, shape: Shape, device: torch.device, runtime: Runtime
) -> float:
    """Seconds to bring a network into the runtime it serves in, for batches of 1 and of 64.

    Raises:
        study.distillation.runtime.ServingError: The runtime cannot run it.
    """
    begun = time.perf_counter()
    served = serve(copy.deepcopy(model).eval(), shape, device, runtime=runtime)
    with torch.inference_mode():
        for batch in (1, 64):
            served.forward(served.take(random_images(shape, batch, 1, device, served.dtype)[0]))
    return time.perf_counter() - begun


def training_step_seconds(
    model: nn.Module,
    shape: Shape,
    classes: int,
    batch_size: int,
    device: torch.device,
    steps: int = 2,
    precision: Precision = "float32",
) -> float:
    """Seconds an image of a training step: forward, backward, SGD with momentum.

    A copy of the network takes one step to warm up, then `steps` that count.

    Args:
        model: Maps `(batch, c, h, w)` to logits `(batch, classes)`, or, with an auxiliary head,
            to a pair of these; left as it is.
        shape: `(h, w, c)` of an image.
        classes: Number of classes.
        batch_size: Images a step.
        device: Where it would train.
        steps: Steps to average over.
        precision: What it would train in.
    """
    trained = to_train(copy.deepcopy(model), device).train()
    images = random_images(shape, batch_size, 1, device)[0]
    labels = torch.arange(batch_size, device=device) % classes
    # A rate of 0 costs as much as any, and cannot diverge.
    optimiser = torch.optim.SGD(trained.parameters(), lr=0.0, momentum=0.9, weight_decay=5e-4)

    def answers(images: Tensor) -> tuple[Tensor, ...]:
        # Every exit is taught, whichever is judged.
        given = trained.answers(images) if isinstance(trained, Exits) else trained(images)
        return given if isinstance(given, tuple) else (given,)

    def step() -> None:
        with autocast(precision, device):
            heads = answers(images)
        optimiser.zero_grad()
        losses = [functional.cross_entropy(logits.float(), labels) for logits in heads]
        torch.autograd.backward(losses)
        optimiser.step()

    return mean_seconds(step, steps, device) / batch_size


def forward_seconds(
    model: nn.Module,
    shape: Shape,
    batch_size: int,
    device: torch.device,
    steps: int = 2,
    precision: Precision = "float32",
) -> float:
    """Seconds an image that a network answers, in eval mode, as it is asked about many.

    One pass of each thread warms up, then `steps` count.

    Args:
        model: Maps `(batch, c, h, w)` to anything; left on `device` in channels_last layout.
        shape: `(h, w, c)` of an image.
        batch_size: Images a pass.
        device: Where it would run.
        steps: Passes to average over.
        precision: What it would compute in.
    """
    model.to(device).to(memory_format=torch.channels_last)
    answering = Answering(model, device)
    batches = random_images(shape, batch_size, 1, device) * answering.at_once

    def ask(network: nn.Module, images: Tensor) -> None:
        with autocast(precision, device):
            network(images)

    def answer() -> None:
        for _ in answering.about(batches, ask):
            pass

    with in_eval_mode(model):
        return mean_seconds(answer, steps, device) / (batch_size * len(batches))


def mean_seconds(work: Callable[[], object], steps: int, device: torch.device) -> float:
    """Seconds that `work` takes on `device`, after once to warm up, mean of `steps`."""

    def finish() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    work()
    start = finish()
    for _ in range(steps):
        work()
    return (finish() - start) / steps
