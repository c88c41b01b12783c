"""A network in the form in which it serves: batch norms folded, in one of three runtimes."""

import contextlib
import io
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from study.distillation.folding import fold_batch_norms
from study.distillation.runtime import Runtime, ServingError, reason_of

Shape = tuple[int, int, int]

# Each network and batch size is one compilation of the same code, and workers live long.
_COMPILATIONS = 256
# At batch 1 an export takes the batch for a constant.
_EXPORT_BATCH = 2


@dataclass(frozen=True)
class Served:
    """A network as it serves.

    Attributes:
        network: What it was made of, or is: its mode is eval while it is timed.
        forward: A pass over what `take` returns.
        take: Brings images `(batch, c, h, w)` into the form that the runtime takes.
        dtype: Number format of its images.
        precision: Number format of most of its weights.
        runtime: What runs it.
    """

    network: nn.Module
    forward: Callable[[Any], Any]
    take: Callable[[Tensor], Any]
    dtype: torch.dtype
    precision: str
    runtime: Runtime = "eager"


def serve(
    network: nn.Module,
    shape: Shape,
    device: torch.device,
    *,
    runtime: Runtime = "eager",
    fold: bool = True,
) -> Served:
    """Bring a network into the form in which it serves.

    What has batch norms to fold is copied if it can be; any other network is used itself, and is
    left on the device with its weights in channels_last layout.

    Args:
        network: Maps `(batch, c, h, w)` to anything.
        shape: `(h, w, c)` of an image.
        device: Where it serves.
        runtime: What runs it. Compiling takes place in the first pass at each batch size.
        fold: Whether batch norms are folded into the layers before them.

    Raises:
        ServingError: The runtime cannot run this network; the message says why.
    """
    height, width, channels = shape
    network = network.to(device)
    dtype = weights_type(network)
    precision = str(number_format(network)).removeprefix("torch.")
    image = torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(0))
    if fold:
        network = fold_batch_norms(network, image.to(device, dtype))
    network = network.to(memory_format=torch.channels_last)
    if runtime == "onnx":
        forward = _onnx_session(network, image.to(dtype), threads=torch.get_num_threads())
        return Served(network, forward, _as_array, dtype, precision, runtime)
    if runtime == "compiled":
        return Served(network, _compiled(network), _as_it_is, dtype, precision, runtime)
    return Served(network, network, _as_it_is, dtype, precision)


def number_format(model: nn.Module) -> torch.dtype:
    """Number format of most of a network's weights, such as int8; float32 if it has none."""
    largest = max(model.parameters(), key=Tensor.numel, default=torch.empty(0))
    return largest.dtype


def weights_type(model: nn.Module) -> torch.dtype:
    """Number format of what a network computes with outside its kernels; float32 if it has none."""
    kinds = (p.dtype for p in model.parameters() if p.is_floating_point())
    return next(kinds, torch.float32)


def _as_it_is(images: Tensor) -> Tensor:
    return images


def _as_array(images: Tensor) -> Any:
    return images.contiguous().numpy()


def _compiled(network: nn.Module) -> Callable[[Tensor], Any]:
    # Whole, or not at all: what falls back to eager would be timed as compiled.
    compiled = torch.compile(network, dynamic=False, fullgraph=True)

    def forward(images: Tensor) -> Any:
        return compiled(images)

    def first(images: Tensor) -> Any:
        try:
            with torch._dynamo.config.patch(recompile_limit=_COMPILATIONS):
                return compiled(images)
        except Exception as error:
            raise ServingError(_cannot("compiled", error)) from error

    seen: set[int] = set()

    def call(images: Tensor) -> Any:
        if len(images) in seen:
            return forward(images)
        answer = first(images)
        seen.add(len(images))
        return answer

    return call


def _onnx_session(network: nn.Module, image: Tensor, threads: int) -> Callable[[Any], Any]:
    """A session on the processor, with a batch of any size."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # As torch's threads here: waiting ones sleep.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    was_training = network.training
    try:
        model = _exported(network.eval(), torch.cat([image] * _EXPORT_BATCH))
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ServingError(_cannot("exported to ONNX", error)) from error
    finally:
        network.train(was_training)
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})


def _exported(network: nn.Module, images: Tensor) -> bytes:
    with (
        tempfile.TemporaryDirectory(prefix="study-onnx-") as folder,
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            network,
            (images,),
            path,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
            external_data=False,
            verbose=False,
        )
        return path.read_bytes()


def _cannot(what: str, error: BaseException) -> str:
    return f"the network cannot be {what} ({reason_of(error)}); leave --runtime at eager"
