"""A student as a file that needs none of this code: normalisation inside, batches of any size.

Images go in as they were decoded, `(batch, channels, height, width)`: uint8, or float32 from 0 to
1. Out come a logit for each class, or images from 0 to 1.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self, cast, get_args

import torch
from torch import Tensor, nn

from search_spaces.networks.int8 import Int8Network
from study.distillation.runtime import reason_of

Shape = tuple[int, int, int]
Format = Literal["onnx", "pt2", "torchscript"]
Takes = Literal["uint8", "float32"]
FORMATS: tuple[Format, ...] = get_args(Format)
TAKES: tuple[Takes, ...] = get_args(Takes)

INPUT = "images"
# Of the example that a graph is recorded with. One image could be taken for a constant.
_EXAMPLES = 2
_NOISY = (
    *("torch.onnx", "torch.export", "torch.fx.experimental.symbolic_shapes"),
    *("onnxscript", "onnx_ir"),
)

Answer = Callable[[Tensor], Tensor]


class ExportError(ValueError):
    """A student that cannot be had in a format; the message says what can."""


class Shipped(nn.Module):
    """A student from pixels to answers, always in eval mode, on the CPU."""

    def __init__(
        self,
        student: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        takes: Takes,
        classes: int | None,
    ) -> None:
        """Put the normalisation before a student.

        Args:
            student: As it is deployed; put in eval mode.
            mean: Mean of each channel that it was trained with, scale 0..1.
            std: Standard deviation of each channel, scale 0..1.
            takes: What images come as.
            classes: How many it names, where it may answer subclasses of them; None for a student
                that answers images on the scale -1 to 1.
        """
        super().__init__()
        student.eval()
        # Integer kernels of one processor cannot travel; the same computation in known steps can.
        self.student = student.reference if isinstance(student, Int8Network) else student
        self.takes: Takes = takes
        self.classes = classes
        for name, values in (("center", mean), ("spread", std)):
            scaled = torch.tensor(list(values), dtype=torch.float32) * 255
            self.register_buffer(name, scaled.view(1, -1, 1, 1))
        self.training = False

    center: Tensor
    spread: Tensor

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode; an exported graph within would refuse to be asked."""
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(batch, classes)`, or images `(batch, channels, height, width)` from 0 to 1."""
        pixels = images.float() if self.takes == "uint8" else images * 255
        answer: Tensor = self.student((pixels - self.center) / self.spread)
        if self.classes is None:
            return (answer + 1) / 2
        if answer.shape[1] != self.classes:  # as `losses.class_logits`, in what every format has
            answer = torch.logsumexp(torch.unflatten(answer, 1, (self.classes, -1)), dim=2)
        return answer


def output_name(classes: int | None) -> str:
    """What the answer is called in a file."""
    return "translated" if classes is None else "logits"


def example_images(shape: Shape, takes: Takes, count: int = _EXAMPLES, seed: int = 0) -> Tensor:
    """Random images `(count, channels, height, width)` as a student takes them."""
    height, width, channels = shape
    drawn = torch.Generator().manual_seed(seed)
    images = torch.randint(
        0, 256, (count, channels, height, width), generator=drawn, dtype=torch.uint8
    )
    return images if takes == "uint8" else images.float() / 255


def write(
    shipped: Shipped, shape: Shape, path: Path, form: Format, about: Mapping[str, str]
) -> None:
    """Write a student as a file of one format.

    Args:
        shipped: The student.
        shape: `(h, w, c)` of an image.
        path: The file; replaced if it is there.
        form: The format.
        about: Words that are kept in the file, by name.

    Raises:
        ExportError: the format cannot hold this student, or torch cannot bring it there.
        OSError: the file cannot be written.
    """
    images = example_images(shape, shipped.takes)
    quantised = is_quantised(shipped.student)
    if form == "torchscript" and quantised:
        raise ExportError(
            "an int8 student cannot be had as torchscript, which does not know its rounding; "
            "ask for --format onnx (int8 in ONNX Runtime) or pt2 (int8 weights, float32 arithmetic)"
        )
    try:
        with _quiet(), torch.inference_mode(form == "torchscript"):
            content = _content(shipped, images, form, about)
    except Exception as error:  # exporters raise of many kinds, and what the student itself raises
        others = [f for f in FORMATS if f != form and not (quantised and f == "torchscript")]
        raise ExportError(
            f"the student cannot be had as {form} ({reason_of(error)}); ask for --format "
            f"{' or '.join(others)}, or build it of operations that {form} knows"
        ) from error
    path.write_bytes(content)


def _content(shipped: Shipped, images: Tensor, form: Format, about: Mapping[str, str]) -> bytes:
    if form == "onnx":
        return _onnx(shipped, images, about)
    buffer = io.BytesIO()
    if form == "pt2":
        torch.export.save(exported_program(shipped, images), buffer, extra_files=dict(about))
    else:
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            shipped, images, check_trace=False
        )
        torch.jit.save(traced, buffer, _extra_files=dict(about))
    return buffer.getvalue()


def exported_program(shipped: Shipped, images: Tensor) -> torch.export.ExportedProgram:
    """The graph of a student, for batches of any size, in operators that torch itself brings."""
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(shipped, (images,), dynamic_shapes=({0: batch},))
    if is_quantised(shipped.student):
        from study.distillation.export_int8 import torch_operators

        program = program.run_decompositions(torch_operators())
    return program


def _onnx(shipped: Shipped, images: Tensor, about: Mapping[str, str]) -> bytes:
    translated = None
    if is_quantised(shipped.student):
        from study.distillation.export_int8 import onnx_operators

        translated = onnx_operators()
    program = torch.onnx.export(
        shipped,
        (images,),
        dynamo=True,
        input_names=[INPUT],
        output_names=[output_name(shipped.classes)],
        dynamic_shapes=({0: "batch"},),
        custom_translation_table=translated,
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(about)
    content: bytes = program.model_proto.SerializeToString()
    return content


def open_file(path: Path, form: Format, threads: int) -> Answer:
    """Open a written file as its user would: images to answers, on the CPU.

    Args:
        path: The file.
        form: Its format.
        threads: That ONNX Runtime is given; torch has those of the process.
    """
    if form == "onnx":
        return _open_onnx(path, threads)
    with _quiet():
        if form == "pt2":
            return cast("Answer", torch.export.load(path).module())
        return cast("Answer", torch.jit.load(str(path)))  # type: ignore[no-untyped-call]


def _open_onnx(path: Path, threads: int) -> Answer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])

    def answer(images: Tensor) -> Tensor:
        (found,) = session.run(None, {INPUT: images.contiguous().numpy()})
        return torch.from_numpy(found)

    return answer


def is_quantised(network: nn.Module) -> bool:
    """Whether a network computes with weights of eight bits."""
    largest = max(network.parameters(), key=Tensor.numel, default=torch.empty(0))
    return largest.dtype == torch.int8


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters say to their own developers: warnings, graphs, notes in the log."""
    before = {name: logging.getLogger(name).level for name in _NOISY}
    said = io.StringIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        warnings.simplefilter("ignore")
        for name in before:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)
