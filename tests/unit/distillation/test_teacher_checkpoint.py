import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, resnet18, resnext50_32x4d

from study.distillation.teacher_checkpoint import inspect_checkpoint, load_checkpoint
from study.distillation.teacher_network import build_network, weights_hash
from study.distillation.teacher_recipe import TeacherError, TeacherRecipe

SMALL = TeacherRecipe(depths=(2, 1, 1, 1), width_per_group=4, epochs=0)

State = dict[str, Tensor]


def small_state() -> State:
    torch.manual_seed(0)
    return build_network(SMALL, 5, (32, 32, 3)).state_dict()


def refusal(path: Path, num_classes: int = 5, channels: int = 3) -> str:
    with pytest.raises(TeacherError) as caught:
        load_checkpoint(path, num_classes, (32, 32, channels), TeacherRecipe())
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 90, "note": "best"},
        lambda state: {"model": state},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"state_dict": {f"module.{name}": t for name, t in state.items()}},
    ],
)
def test_ones_own_state_dict_is_loaded_however_it_is_wrapped(
    wrap: Callable[[State], Any], tmp_path: Path
) -> None:
    torch.save(wrap(small_state()), tmp_path / "teacher.pth")
    teacher = load_checkpoint(tmp_path / "teacher.pth", 5, (32, 32, 3), TeacherRecipe())
    assert teacher.recipe == SMALL
    assert teacher.path == tmp_path / "teacher.pth"
    assert teacher.weights_sha256 == weights_hash(teacher.model)
    assert teacher.key == teacher.weights_sha256[:16]
    assert not teacher.model.training
    for name, tensor in teacher.model.state_dict().items():
        assert torch.equal(tensor, small_state()[name]), name


@pytest.mark.parametrize(
    "recipe",
    [
        TeacherRecipe(epochs=0),
        TeacherRecipe(depths=(2, 2, 2, 2), block="basic", epochs=0),
        TeacherRecipe(depths=(1, 1, 1, 1), stem="cifar", epochs=0),
        TeacherRecipe(depths=(1, 1, 1, 1), width_per_group=128, epochs=0),
    ],
)
def test_the_architecture_is_read_off_the_tensors(recipe: TeacherRecipe, tmp_path: Path) -> None:
    network = build_network(recipe, 4, (32, 32, 1)).eval()
    torch.save(network.state_dict(), tmp_path / "teacher.pt")
    teacher = load_checkpoint(tmp_path / "teacher.pt", 4, (16, 16, 1), TeacherRecipe())
    assert teacher.recipe == recipe
    images = torch.rand(2, 1, 16, 16)
    assert torch.equal(teacher.model(images), network(images))


def test_torchvisions_resnet_18_in_the_old_format_is_loaded(tmp_path: Path) -> None:
    network = resnet18(num_classes=10)
    torch.save(network.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    inspect_checkpoint(tmp_path / "old.pt")
    assert (
        load_checkpoint(tmp_path / "old.pt", 10, (32, 32, 3), TeacherRecipe()).recipe.title
        == "ResNet-18 [2,2,2,2]"
    )


def test_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    torch.save(small_state(), tmp_path / "teacher.pt")
    assert "answers 5 classes, the data has 10" in refusal(tmp_path / "teacher.pt", num_classes=10)


def test_a_teacher_of_subclasses_has_an_answer_for_each(tmp_path: Path) -> None:
    recipe = replace(SMALL, subclasses=2)
    torch.save(build_network(recipe, 5, (32, 32, 3)).state_dict(), tmp_path / "teacher.pt")
    teacher = load_checkpoint(tmp_path / "teacher.pt", 5, (32, 32, 3), recipe)
    assert teacher.recipe == recipe
    assert teacher.model(torch.rand(1, 3, 32, 32)).shape == (1, 10)


def test_a_teacher_of_classes_is_refused_where_subclasses_are_asked(tmp_path: Path) -> None:
    torch.save(small_state(), tmp_path / "teacher.pt")
    with pytest.raises(TeacherError, match="has 5 answers, and 5 classes of 2 subclasses each"):
        load_checkpoint(tmp_path / "teacher.pt", 5, (32, 32, 3), TeacherRecipe(subclasses=2))


def test_another_number_of_channels_is_refused(tmp_path: Path) -> None:
    torch.save(small_state(), tmp_path / "teacher.pt")
    assert "sees 3 channels, the data has 1" in refusal(tmp_path / "teacher.pt", channels=1)


def nothing(path: Path) -> None:
    pass


def a_text(path: Path) -> None:
    path.write_text("accuracy: 95\n")


def cut_off(path: Path) -> None:
    torch.save(small_state(), path)
    path.write_bytes(path.read_bytes()[:-1000])


def a_zip(path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no tensors here")


def a_module(path: Path) -> None:
    torch.save(nn.Linear(2, 2), path)


def a_number(path: Path) -> None:
    torch.save(95.0, path)


def another_network(path: Path) -> None:
    torch.save(mobilenet_v2().state_dict(), path)


def no_tensors(path: Path) -> None:
    torch.save({"epoch": 3}, path)


def grouped(path: Path) -> None:
    torch.save(resnext50_32x4d(num_classes=5).state_dict(), path)


def a_stage_short(path: Path) -> None:
    state = small_state()
    torch.save({n: t for n, t in state.items() if not n.startswith("layer3.")}, path)


def a_tensor_short(path: Path) -> None:
    state = small_state()
    del state["layer4.0.bn2.bias"]
    torch.save(state, path)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (nothing, "does not exist; check the path"),
        (Path.mkdir, "is a folder; name the file in it"),
        (Path.touch, "is not a file of torch.save"),
        (a_text, "is not a file of torch.save"),
        (cut_off, "ends too early; copy it again"),
        (a_zip, "cannot be read"),
        (a_module, "holds more than tensors"),
        (a_number, "holds a float, not a state dict"),
        (another_network, "not a ResNet of torchvision: no conv1.weight (it starts with features."),
        (no_tensors, "(it starts with no tensors)"),
        (grouped, "grouped convolutions (ResNeXt)"),
        (a_stage_short, "no layer3"),
        (a_tensor_short, "layer4.0.bn2.bias"),
    ],
)
def test_what_is_no_teacher_is_refused_in_one_line(
    write: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    write(tmp_path / "teacher.pt")
    assert words in refusal(tmp_path / "teacher.pt")


def test_a_file_without_read_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    torch.save(small_state(), tmp_path / "teacher.pt")
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(TeacherError, match="Permission denied"):
        inspect_checkpoint(tmp_path / "teacher.pt")


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "harm",)

    torch.save({"state_dict": small_state(), "extra": Harmful()}, tmp_path / "teacher.pt")
    assert "save it with torch.save(model.state_dict(), PATH)" in refusal(tmp_path / "teacher.pt")
    assert not (tmp_path / "harm").exists()


def test_the_quick_look_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from study.distillation.teacher_checkpoint import inspect_checkpoint\n"
        "from study.distillation.teacher_recipe import TeacherError, teacher_key\n"
        f"try: inspect_checkpoint(Path({str(tmp_path / 'none.pt')!r}))\n"
        "except TeacherError as error: print(error)\n"
        "print('torch' in sys.modules, 'numpy' in sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    lines = result.stdout.splitlines()
    assert "does not exist" in lines[0]
    assert lines[1] == "False False"
