"""Exported students: every kind of network, in every format, answers as it did."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from search_spaces.networks import autoencoder, cnn, dense, int8, mobilenet, multi_exit, resnet
from search_spaces.networks.quantized import QuantizedStudent
from study.distillation.export import (
    FORMATS,
    ExportError,
    Format,
    Shipped,
    Takes,
    example_images,
    open_file,
    write,
)
from study.distillation.export_check import agreement, time_beside
from study.distillation.export_int8 import onnx_operators
from study.distillation.losses import class_logits
from study.distillation.views import Normalizer

SHAPE, CLASSES = (32, 32, 3), 5
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
SPEC = resnet.ResidualSpec((1, 0, 1, 0), "cifar", 2, 4)


def settled(network: nn.Module) -> nn.Module:
    """With running statistics of its own, as a trained network has."""
    network.train()
    with torch.no_grad():
        network(torch.randn(8, SHAPE[2], *SHAPE[:2]))
    return network.eval()


def students() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    several = multi_exit.MultiExit(resnet.ResidualSpec((1, 1, 1, 1), "cifar", 2, 4), CLASSES)
    settled(several)
    return {
        "residual": settled(resnet.build(SPEC, CLASSES)),
        "dense": settled(dense.build(SHAPE, (16,), CLASSES, dropout=0.5)),
        "convolutional": settled(cnn.build(SHAPE, (4, 8), (16,), CLASSES, dropout=0.5)),
        "mobilenet": settled(mobilenet.build(CLASSES, width=0.25)),
        "first exit": several.deployed(1),
        "ensemble of exits": several.deployed("ensemble"),
        "subclasses": settled(dense.build(SHAPE, (16,), 3 * CLASSES)),
        "autoencoder": settled(autoencoder.Autoencoder(3, 2)),
    }


STUDENTS = students()


def shipped_of(student: nn.Module, takes: Takes, *, classes: int | None = CLASSES) -> Shipped:
    return Shipped(student, MEAN, STD, takes=takes, classes=classes)


def as_the_study_asks(student: nn.Module, takes: Takes, *, classes: int | None = CLASSES):
    """The student's answers by the study's own normalisation and its own class logits."""
    normalize = Normalizer(MEAN, STD)

    @torch.inference_mode()
    def answer(images: Tensor) -> Tensor:
        given = student(normalize(images if takes == "uint8" else images * 255))
        return (given + 1) / 2 if classes is None else class_logits(given, classes)

    return answer


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", STUDENTS)
def test_a_file_answers_as_its_student_for_batches_of_any_size(
    kind: str, form: Format, tmp_path: Path
) -> None:
    student, classes = STUDENTS[kind], None if kind == "autoencoder" else CLASSES
    path = tmp_path / "student"
    write(shipped_of(student, "uint8", classes=classes), SHAPE, path, form, {"study": "small"})
    file, wanted = open_file(path, form, 1), as_the_study_asks(student, "uint8", classes=classes)

    for count in (1, 7):
        images = example_images(SHAPE, "uint8", count, seed=count)
        with torch.inference_mode():
            found = file(images)
        assert found.shape == ((count, 3, 32, 32) if classes is None else (count, CLASSES))
        torch.testing.assert_close(found, wanted(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_may_take_floats_from_0_to_1(form: Format, tmp_path: Path) -> None:
    student = STUDENTS["residual"]
    write(shipped_of(student, "float32"), SHAPE, tmp_path / "student", form, {})
    images = example_images(SHAPE, "float32", 3)

    with torch.inference_mode():
        found = open_file(tmp_path / "student", form, 1)(images)

    assert images.max() <= 1
    wanted = as_the_study_asks(student, "float32")
    torch.testing.assert_close(found, wanted(images), rtol=1e-4, atol=1e-4)


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    import onnx

    shipped, about = shipped_of(STUDENTS["dense"], "uint8"), {"study": "small", "trial": "t0001"}
    write(shipped, SHAPE, tmp_path / "a.onnx", "onnx", about)
    write(shipped, SHAPE, tmp_path / "a.pt2", "pt2", about)

    model = onnx.load(tmp_path / "a.onnx")
    kept = {entry.key: entry.value for entry in model.metadata_props}
    assert about.items() <= kept.items()
    assert [each.name for each in model.graph.input] == ["images"]
    assert [each.name for each in model.graph.output] == ["logits"]
    extra = {"study": "", "trial": ""}
    torch.export.load(tmp_path / "a.pt2", extra_files=extra)
    assert extra == about


def test_a_student_is_exported_in_eval_mode_though_it_was_training(tmp_path: Path) -> None:
    student = dense.build(SHAPE, (64,), CLASSES, dropout=0.9).train()
    write(shipped_of(student, "uint8"), SHAPE, tmp_path / "s", "pt2", {})
    file, images = open_file(tmp_path / "s", "pt2", 1), example_images(SHAPE, "uint8")

    assert torch.equal(file(images), file(images))


# Int8: its making takes seconds, so one serves all that follow.


@pytest.fixture(scope="module")
def quantised() -> int8.Int8Network:
    torch.manual_seed(0)
    trained = QuantizedStudent(resnet.build(SPEC, CLASSES), SHAPE)
    trained.train()
    for _ in range(3):
        trained(torch.randn(16, 3, 32, 32))
    return trained.deployed()


def test_an_int8_student_keeps_its_bytes_and_its_classes(
    quantised: int8.Int8Network, tmp_path: Path
) -> None:
    import onnx

    images = example_images(SHAPE, "uint8", 64)
    shipped = shipped_of(quantised, "uint8")
    for form in ("onnx", "pt2"):
        path = tmp_path / f"student.{form}"
        write(shipped, SHAPE, path, form, {})
        found = agreement(
            as_the_study_asks(quantised, "uint8"),
            open_file(path, form, 1),
            images,
            names_classes=True,
            quantised=True,
        )
        assert found.agrees
        assert found.same_class is not None
        assert found.same_class >= 0.98
    model = onnx.load(tmp_path / "student.onnx")
    weights = [each for each in model.graph.initializer if len(each.dims) == 4 and each.dims[0] > 1]
    assert len(weights) >= 5
    assert {each.data_type for each in weights} == {onnx.TensorProto.INT8}
    program = torch.export.load(tmp_path / "student.pt2")
    assert "quantized_decomposed" not in str(program.graph)  # torch alone can open it
    assert sum(t.dtype == torch.int8 for t in program.state_dict.values()) >= 5


class Rounded(nn.Module):
    """Rounds to seven bits in a type of eight."""

    def forward(self, values: Tensor) -> Tensor:
        ops = torch.ops.quantized_decomposed
        how = 0.5, 3, 0, 127, torch.uint8
        rounded: Tensor = ops.dequantize_per_tensor(ops.quantize_per_tensor(values, *how), *how)
        return rounded


def test_what_is_rounded_to_fewer_bits_than_its_type_has_is_so_in_onnx(
    quantised: int8.Int8Network, tmp_path: Path
) -> None:
    import onnxruntime

    values = torch.tensor([[-9.0, -1.5, -1.2, 0.0, 0.26, 61.9, 62.0, 62.4, 90.0, 1e6]])
    program = torch.export.export(Rounded(), (values,))
    torch.onnx.export(
        program,
        f=str(tmp_path / "r.onnx"),
        custom_translation_table=onnx_operators(),
        opset_version=18,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(str(tmp_path / "r.onnx"))
    (found,) = session.run(None, {session.get_inputs()[0].name: values.numpy()})
    assert found.max() == 62.0  # (127 - 3) / 2, where the type would go to 126
    assert torch.equal(torch.from_numpy(found), Rounded()(values))


def test_an_int8_student_is_no_torchscript_and_the_mend_is_named(
    quantised: int8.Int8Network, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="--format onnx"):
        write(shipped_of(quantised, "uint8"), SHAPE, tmp_path / "s", "torchscript", {})
    assert list(tmp_path.iterdir()) == []


# What cannot be had


class Branching(nn.Module):
    """Goes one of two ways, by what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.ways = nn.ModuleList(dense.build(SHAPE, (4,), CLASSES) for _ in range(2))

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.ways[0 if images.sum() > 0 else 1](images)
        return answer


class Bessel(nn.Module):
    """Computes what ONNX has no operator for."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.special.bessel_j0(images.flatten(1)[:, :CLASSES])


@pytest.mark.parametrize(
    ("student", "form", "reason", "mend"),
    [
        (Branching(), "onnx", "data-dependent", "--format pt2 or torchscript"),
        (Branching(), "pt2", "data-dependent", "--format onnx or torchscript"),
        (Bessel(), "onnx", "bessel_j0", "--format pt2 or torchscript"),
    ],
)
def test_what_a_format_cannot_hold_is_said_in_a_line_with_the_mend(
    student: nn.Module, form: Format, reason: str, mend: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError) as caught:
        write(shipped_of(student, "uint8"), SHAPE, tmp_path / "s", form, {})

    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"the student cannot be had as {form} (")
    assert reason in line
    assert mend in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("form", FORMATS)
def test_a_full_disk_is_no_fault_of_the_student(form: Format) -> None:
    with pytest.raises(OSError, match="No space left"):
        write(shipped_of(STUDENTS["dense"], "uint8"), SHAPE, Path("/dev/full"), form, {})


def test_a_student_may_have_a_part_called_reference(tmp_path: Path) -> None:
    student = nn.Sequential()
    student.reference = nn.Flatten()
    student.head = nn.Linear(3 * 32 * 32, CLASSES)
    write(shipped_of(student, "uint8"), SHAPE, tmp_path / "s", "pt2", {})

    images = example_images(SHAPE, "uint8", 3)
    with torch.inference_mode():
        found = open_file(tmp_path / "s", "pt2", 1)(images)

    wanted = as_the_study_asks(student, "uint8")
    torch.testing.assert_close(found, wanted(images), rtol=1e-4, atol=1e-4)


# The check


def test_other_weights_other_normalisation_and_no_numbers_are_found_out() -> None:
    student, images = STUDENTS["residual"], example_images(SHAPE, "uint8", 16)
    wanted = as_the_study_asks(student, "uint8")
    shifted = Shipped(student, (0.4, 0.4, 0.3), STD, takes="uint8", classes=CLASSES)
    broken = {
        "itself": wanted,
        "shifted": shifted,
        "not a number": lambda batch: wanted(batch) * float("nan"),
        "another shape": lambda batch: wanted(batch)[:, :2],
    }

    agrees = {
        name: agreement(wanted, file, images, names_classes=True, quantised=False).agrees
        for name, file in broken.items()
    }

    assert agrees == {
        "itself": True,
        "shifted": False,
        "not a number": False,
        "another shape": False,
    }


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_a_float_file_has_to_agree_to_a_thousandth_of_the_largest_answer(scale: float) -> None:
    answers = scale * torch.tensor([[1.0, -0.5]] * 4)

    def agrees(share: float) -> bool:
        moved = answers + share * scale
        return agreement(
            lambda _: answers,
            lambda _: moved,
            torch.zeros(4, 1, 1, 1),
            names_classes=False,
            quantised=False,
        ).agrees

    assert [agrees(share) for share in (0.0, 0.0009, 0.0011, 0.01)] == [True, True, False, False]


def test_answers_of_nothing_may_differ_by_rounding_alone() -> None:
    nothing = torch.zeros(4, 2)

    def agrees(difference: float) -> bool:
        return agreement(
            lambda _: nothing,
            lambda _: nothing + difference,
            torch.zeros(4, 1, 1, 1),
            names_classes=True,
            quantised=False,
        ).agrees

    assert [agrees(difference) for difference in (0.0, 5e-7, 1e-5)] == [True, True, False]


def test_differences_and_classes_are_counted() -> None:
    images = torch.zeros(4, 1, 1, 1)
    student = {0: torch.tensor([[1.0, 2.0]] * 4)}
    file = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [2.5, 2.0]])

    found = agreement(
        lambda batch: student[0], lambda batch: file, images, names_classes=True, quantised=False
    )

    assert (found.images, found.largest_difference, found.largest_answer) == (4, 1.5, 2.0)
    assert found.same_class == 0.75
    assert not found.agrees
    assert json.loads(json.dumps(found.to_json()))["same_class"] == 0.75


@pytest.fixture
def take(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let time pass on a clock that stands still otherwise, for whoever times networks."""
    now = 0

    def passes(seconds: float) -> None:
        nonlocal now
        now += round(1e9 * seconds)

    clock = SimpleNamespace(perf_counter=lambda: now / 1e9, perf_counter_ns=lambda: now)
    monkeypatch.setattr("study.distillation.stopwatch.time", clock)
    return passes


def test_who_are_alike_fast_are_timed_alike_often_at_batch_1_and_64(
    take: Callable[[float], None],
) -> None:
    seen: dict[str, list[int]] = {"file": [], "student": []}

    def count(name: str):
        def answer(images: Tensor) -> Tensor:
            seen[name].append(len(images))
            take(0.0005)
            return images

        return answer

    one, many = time_beside(count("file"), count("student"), (2, 2, 1), "uint8", seconds=0.002)

    assert (one.batch, many.batch) == (1, 64)
    assert seen["file"] == seen["student"]
    assert (one.repeats, many.repeats) == (24, 8)
    assert one.file_ms.median == one.file_ms.p95 == pytest.approx(0.5)
    assert one.ratio.median == pytest.approx(1.0)


def test_the_faster_of_both_has_more_passes_in_its_turn(take: Callable[[float], None]) -> None:
    seen: dict[float, int] = {0.0005: 0, 0.005: 0}

    def after(seconds: float) -> Callable[[Tensor], Tensor]:
        def answer(images: Tensor) -> Tensor:
            seen[seconds] += len(images) == 1
            take(seconds)
            return images

        return answer

    one, _ = time_beside(after(0.0005), after(0.005), (2, 2, 1), "uint8", seconds=0.02)

    assert one.ratio.median == pytest.approx(10)
    # In each of 24 turns two before and five that are timed, to one and one.
    assert seen[0.0005] - seen[0.005] == 24 * (2 + 5 - 1 - 1)


def test_a_pt2_file_holds_no_pickles_of_code(tmp_path: Path) -> None:
    write(shipped_of(STUDENTS["dense"], "uint8"), SHAPE, tmp_path / "a.pt2", "pt2", {})
    with zipfile.ZipFile(tmp_path / "a.pt2") as archive:
        assert any(name.endswith(".json") for name in archive.namelist())
