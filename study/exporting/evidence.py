"""What speaks for an exported file: it is asked and timed beside the student it was made from."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.exporting.source import Images
from study.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor, nn

    from study.distillation.export import Format, Shape, Shipped
    from study.distillation.export_check import Agreement, BesideEager

_RUNTIMES = {"onnx": "ONNX Runtime", "pt2": "torch.export", "torchscript": "TorchScript"}
_TIMED_SECONDS = 4.0
_RANDOM_IMAGES = 256


@dataclass(frozen=True)
class Evidence:
    """How a file answers and how fast.

    Attributes:
        agreement: How its answers compare with the student's.
        checked_on: What images that was found on, in words.
        real_images: Whether they are of the study's data.
        timings: Of the file beside the student in eager torch, at batch 1 and 64.
        runtime: What ran the file, with its version.
        device: What both ran on.
        threads: Threads that both were given.
        load: Processes that wanted to run, on average over the last minute, or None.
        cpus: Of the machine.
    """

    agreement: "Agreement"
    checked_on: str
    real_images: bool
    timings: "tuple[BesideEager, ...]"
    runtime: str
    device: str
    threads: int
    load: float | None
    cpus: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def gather(
    path: Path,
    form: "Format",
    network: "nn.Module",
    shipped: "Shipped",
    images: Images,
    shape: "Shape",
    progress: Progress,
) -> Evidence:
    """Ask a written file what the student was asked; time both where they agree.

    Args:
        path: The file.
        form: Its format.
        network: The student as the study has it.
        shipped: The same as it was written.
        images: What to ask.
        shape: ``(h, w, c)`` of an image.
        progress: Shows what is done.
    """
    import torch

    from study.distillation.export import example_images, is_quantised, open_file
    from study.distillation.export_check import agreement, time_beside
    from study.distillation.measurement import device_name

    pixels, words = images.pixels, images.words
    if pixels is None:
        pixels = example_images(shape, "uint8", _RANDOM_IMAGES, seed=1)
        words = f"{_RANDOM_IMAGES} random images, as {words}"
    if shipped.takes == "float32":
        pixels = pixels.float() / 255
    student, threads = student_answer(network, images, shipped), torch.get_num_threads()
    with progress.phase(f"checking on {words.partition(',')[0]}") as phase:
        file = open_file(path, form, threads)
        found = agreement(
            student,
            file,
            pixels,
            names_classes=shipped.classes is not None,
            quantised=is_quantised(shipped.student),
        )
        phase.note = f"largest difference {found.largest_difference:.2g}"
    timings: tuple[BesideEager, ...] = ()
    if found.agrees:
        with progress.phase("timing beside eager torch"):
            timings = time_beside(file, student, shape, shipped.takes, _TIMED_SECONDS)
    return Evidence(
        agreement=found,
        checked_on=words,
        real_images=images.pixels is not None,
        timings=timings,
        runtime=f"{_RUNTIMES[form]} {version('onnxruntime' if form == 'onnx' else 'torch')}",
        device=device_name(torch.device("cpu")),
        threads=threads,
        load=_load(),
        cpus=os.cpu_count() or 1,
    )


def student_answer(
    network: "nn.Module", images: Images, shipped: "Shipped"
) -> "Callable[[Tensor], Tensor]":
    """Return the student as the study asks it: through the study's own normalisation."""
    from study.distillation.losses import class_logits
    from study.distillation.views import Normalizer

    normalize = Normalizer(images.mean, images.std)

    def answer(pixels: "Tensor") -> "Tensor":
        answered: Tensor = network(normalize(pixels if shipped.takes == "uint8" else pixels * 255))
        if shipped.classes is None:
            return (answered + 1) / 2
        return class_logits(answered, shipped.classes)

    return answer


def _load() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None
