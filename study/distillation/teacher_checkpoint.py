"""A teacher that was trained elsewhere: a state dict of a torchvision ResNet or the network asked.

`inspect_checkpoint` needs no torch, so that a wrong path is refused at once.
"""

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.distillation.teacher_recipe import Block, TeacherError, TeacherRecipe

if TYPE_CHECKING:
    from torch import Tensor, nn

# A file of torch before 1.6 is a row of pickles, the first one this number.
_OLD_FORMAT = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_BLOCK_KEY = re.compile(r"layer([1-4])\.(\d+)\.conv1\.weight")
_MEND = "save it with torch.save(model.state_dict(), PATH)"


@dataclass(frozen=True, eq=False)
class CheckpointTeacher:
    """A teacher read from a file.

    Attributes:
        model: In eval mode, on the CPU.
        recipe: Its architecture; no epochs, as none are trained here.
        path: The file.
        weights_sha256: Of the network's state.
    """

    model: "nn.Module"
    recipe: TeacherRecipe
    path: Path
    weights_sha256: str

    @property
    def key(self) -> str:
        """16 hex digits of its weights."""
        return self.weights_sha256[:16]


def inspect_checkpoint(path: Path) -> None:
    """Refuse at once what cannot be a checkpoint: its start and end are read, torch is not.

    Raises:
        TeacherError: It is missing, a folder, unreadable, cut off or no file of torch.
    """
    if not path.exists():
        raise TeacherError(f"teacher checkpoint {path} does not exist; check the path")
    if path.is_dir():
        raise TeacherError(f"teacher checkpoint {path} is a folder; name the file in it")
    try:
        with path.open("rb") as file:
            start = file.read(len(_OLD_FORMAT))
            whole = start == _OLD_FORMAT or zipfile.is_zipfile(file)
    except OSError as error:
        raise TeacherError(
            f"teacher checkpoint {path} cannot be read ({error.strerror}); "
            "give it read permission or name another"
        ) from error
    if not whole and start.startswith(b"PK\x03\x04"):
        raise TeacherError(f"teacher checkpoint {path} ends too early; copy it again")
    if not whole:
        raise TeacherError(f"teacher checkpoint {path} is not a file of torch.save; {_MEND}")


def load_checkpoint(
    path: Path, num_classes: int, shape: tuple[int, int, int], recipe: TeacherRecipe
) -> CheckpointTeacher:
    """Read a state dict of the recipe's network, or of any torchvision ResNet.

    The state may lie under "state_dict" or "model", its names may start with "module.". Depths,
    kind of block, inner width and stem of a ResNet (bottleneck or basic blocks) are read off the
    names and shapes; a 3x3 stem means the CIFAR stem (stride 1, no pooling). Of an Inception-v3 of
    torchvision the auxiliary head is left out. The network is fed images normalised as the recipe's
    `statistics` say; torchvision's `transform_input` is on where they are ImageNet's. Only tensors
    are unpickled, no code is run.

    Args:
        path: The file.
        num_classes: Logits that the data asks for.
        shape: `(h, w, c)` of the data's images.
        recipe: The teacher that the space declares, or its user asked for.

    Raises:
        TeacherError: The file cannot be read, is no such network, or does not fit the data.
    """
    inspect_checkpoint(path)
    state = _read(path)
    if recipe.network == "inception":
        state = {name: t for name, t in state.items() if not name.startswith("AuxLogits.")}
        if "fc.weight" in state and recipe.subclasses == 1:
            _check_classes(path, state, num_classes, 1)
    if recipe.network != "resnet":
        return _of_recipe(path, state, replace(recipe, epochs=0), num_classes, shape)
    recipe = replace(
        _infer_recipe(state, path), subclasses=recipe.subclasses, statistics=recipe.statistics
    )
    _check_classes(path, state, num_classes, recipe.subclasses)
    seen = state["conv1.weight"].shape[1]
    if seen != shape[2]:
        raise TeacherError(
            f"teacher checkpoint {path} sees {seen} channels, the data has {shape[2]}; "
            "name a checkpoint trained on images like these"
        )
    return _of_recipe(path, state, recipe, num_classes, shape)


def _check_classes(
    path: Path, state: Mapping[str, "Tensor"], num_classes: int, subclasses: int
) -> None:
    answered = state["fc.weight"].shape[0]
    if answered == num_classes * subclasses:
        return
    if subclasses == 1:
        raise TeacherError(
            f"teacher checkpoint {path} answers {answered} classes, the data has {num_classes}; "
            "train its head on this data first"
        )
    raise TeacherError(
        f"teacher checkpoint {path} has {answered} answers, and {num_classes} classes of "
        f"{subclasses} subclasses each need {num_classes * subclasses}; train its head on these, "
        "or leave --teacher out"
    )


def _of_recipe(
    path: Path,
    state: Mapping[str, "Tensor"],
    recipe: TeacherRecipe,
    num_classes: int,
    shape: tuple[int, int, int],
) -> CheckpointTeacher:
    from study.distillation.teacher_network import build_network, weights_hash

    network = build_network(recipe, num_classes, shape)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        whose = " of torchvision" if recipe.network == "resnet" else ""
        raise TeacherError(
            f"teacher checkpoint {path} does not fit {recipe.title}{whose} ({first}); {_MEND}"
        ) from error
    return CheckpointTeacher(network.eval(), recipe, path, weights_hash(network))


def _read(path: Path) -> dict[str, "Tensor"]:
    import pickle

    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise TeacherError(
            f"teacher checkpoint {path} holds more than tensors, which is not opened; {_MEND}"
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise TeacherError(
            f"teacher checkpoint {path} cannot be read ({reason}); copy it again"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise TeacherError(
            f"teacher checkpoint {path} holds a {type(content).__name__}, not a state dict; {_MEND}"
        )
    tensors = {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


def _infer_recipe(state: Mapping[str, "Tensor"], path: Path) -> TeacherRecipe:
    """Architecture of a state dict, from its names and the shapes of a few tensors."""
    blocks: list[set[int]] = [set(), set(), set(), set()]
    for name in state:
        if match := _BLOCK_KEY.fullmatch(name):
            blocks[int(match[1]) - 1].add(int(match[2]))
    needed = {"conv1.weight": 4, "layer1.0.conv1.weight": 4, "layer1.0.conv2.weight": 4}
    needed["fc.weight"] = 2
    lacking = [key for key, rank in needed.items() if key not in state or state[key].ndim != rank]
    if lacking or not all(blocks):
        found = ", ".join(list(state)[:3]) or "no tensors"
        lack = lacking[0] if lacking else f"layer{blocks.index(set()) + 1}"
        mend = "name one whose stages are layer1 to layer4"
        if "Mixed_7c.branch1x1.conv.weight" in state:
            mend = "for an Inception-v3, add --teacher-network inception"
        raise TeacherError(
            f"teacher checkpoint {path} is not a ResNet of torchvision: no {lack} "
            f"(it starts with {found}); {mend}"
        )
    inner = state["layer1.0.conv2.weight"].shape
    if inner[0] != inner[1] and "layer1.0.conv3.weight" in state:
        raise TeacherError(
            f"teacher checkpoint {path} has grouped convolutions (ResNeXt); name a plain ResNet"
        )
    return _recipe_of(state, tuple(map(len, blocks)), path)


def _recipe_of(state: Mapping[str, Any], depths: tuple[int, ...], path: Path) -> TeacherRecipe:
    block: Block = "bottleneck" if "layer1.0.conv3.weight" in state else "basic"
    kernel = state["conv1.weight"].shape[2]
    if kernel not in (3, 7):
        raise TeacherError(
            f"teacher checkpoint {path} has a stem of {kernel}x{kernel}; 7x7 and 3x3 are known"
        )
    a, b, c, d = depths
    return TeacherRecipe(
        depths=(a, b, c, d),
        block=block,
        stem="imagenet" if kernel == 7 else "cifar",
        width_per_group=state["layer1.0.conv1.weight"].shape[0] if block == "bottleneck" else 64,
        epochs=0,
    )
