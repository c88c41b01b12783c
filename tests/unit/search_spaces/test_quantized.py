"""Quantised students: what is trained is what is shipped, in eight bits, on integer kernels."""

import copy
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

pytest.importorskip("torchao", reason="the extra `quantize` is not installed")

from search_spaces.cifar_quantized import SPACE
from search_spaces.networks import int8
from search_spaces.networks.int8 import Int8Network, NoInt8KernelError, _lower
from search_spaces.networks.quantized import STAGES, QuantizedStudent
from study.distillation import checkpoint, methods
from study.distillation.data import load
from study.distillation.deployment import deployed
from study.distillation.evaluation import evaluate
from study.distillation.image_data import ImageData
from study.distillation.measurement import compare_latency, profile_model
from study.distillation.taps import Taps
from study.distillation.training import StudentTrainer, TrainingData, TrainingSettings

CPU = torch.device("cpu")
SHAPE = (32, 32, 3)
PARAMS = SPACE.complete({"blocks_3": 0, "blocks_4": 0, "width": 16, "qat_freeze": 0.34})
SETTINGS = TrainingSettings(
    epochs=6, batch_size=64, learning_rate=0.05, schedule="onecycle", views=2
)


def build(precision: str = "int8", **overrides: Any) -> nn.Module:
    torch.manual_seed(0)
    params = SPACE.complete({**PARAMS, **overrides, "precision": precision})
    student: nn.Module = SPACE.build_student(params, 10, SHAPE)
    return student


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def fresh() -> QuantizedStudent:
    """Untrained; tests leave it as it is, or copy it."""
    student = build()
    assert isinstance(student, QuantizedStudent)
    return student


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    return load("digits", None, cache_dir=tmp_path_factory.mktemp("datasets"))


def trainer(student: nn.Module, digits: ImageData) -> StudentTrainer:
    data = TrainingData(
        digits.train, digits.validation, digits.mean, digits.std, digits.augmentation
    )
    return StudentTrainer(student, methods.build({"method": "none"}), data, None, SETTINGS, CPU)


@pytest.fixture(scope="module")
def trained(
    fresh: QuantizedStudent, digits: ImageData, tmp_path_factory: pytest.TempPathFactory
) -> tuple[QuantizedStudent, list[float], Path]:
    """A student of six epochs, its scores, and the checkpoint of its third."""
    student = copy.deepcopy(fresh)
    path = tmp_path_factory.mktemp("trained") / "last.pt"
    teaching = trainer(student, digits)
    scores = []
    for epoch in range(SETTINGS.epochs):
        scores.append(teaching.run_epoch().val_score)
        if epoch == 2:
            checkpoint.save(path, teaching.state())
    return student, scores, path


@pytest.fixture(scope="module")
def shipped(trained: tuple[QuantizedStudent, list[float], Path]) -> Int8Network:
    network = deployed(trained[0])
    assert isinstance(network, Int8Network)
    return network


def logits(network: nn.Module, count: int, digits: ImageData) -> Tensor:
    images = torch.from_numpy(digits.test.images[:count]).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        answer: Tensor = network((images - 0.5) / 0.25)
    return answer


def test_the_int8_network_scores_what_the_student_scored_while_it_learnt(
    trained: tuple[QuantizedStudent, list[float], Path], shipped: Int8Network, digits: ImageData
) -> None:
    _, scores, _ = trained
    _, score = evaluate(shipped, digits.validation, digits.mean, digits.std, CPU)

    assert scores[-1] > 90
    assert score == pytest.approx(scores[-1], abs=1.5)


def test_the_int8_network_answers_as_the_student_in_eval_mode(
    trained: tuple[QuantizedStudent, list[float], Path], shipped: Int8Network, digits: ImageData
) -> None:
    student = copy.deepcopy(trained[0]).eval()
    theirs, ours = logits(student, 256, digits), logits(shipped, 256, digits)

    assert (theirs.argmax(1) == ours.argmax(1)).double().mean() > 0.98
    # A few values fall on the other side of a rounding; none goes further astray.
    assert (theirs - ours).abs().mean() < 0.02 * theirs.abs().mean()


def test_a_batch_of_any_size_gets_the_same_answers(shipped: Int8Network, digits: ImageData) -> None:
    alone = torch.cat([logits(shipped, 1, digits), logits(shipped, 7, digits)[1:]])

    assert torch.allclose(alone, logits(shipped, 64, digits)[:7], atol=1e-4)


def test_the_int8_network_holds_no_float_weight(shipped: Int8Network) -> None:
    weights = [value for value in shipped.state_dict().values() if value.ndim > 1]

    assert weights
    assert all(value.dtype == torch.int8 for value in weights)
    shapes = sorted(tuple(value.shape) for value in weights)
    assert shapes == sorted(tuple(p.shape) for p in build("float32").parameters() if p.ndim > 1)


def test_its_size_is_that_of_int8_and_its_work_that_of_the_float_twin(
    shipped: Int8Network,
) -> None:
    ours, twin = profile_model(shipped, SHAPE), profile_model(build("float32"), SHAPE)
    file = io.BytesIO()
    torch.save(shipped.state_dict(), file)

    assert ours.flops_m == twin.flops_m
    assert ours.params_m == pytest.approx(twin.params_m, rel=0.02)
    assert ours.bytes == len(file.getvalue())
    assert ours.bytes < 0.5 * twin.bytes


def test_an_untrained_student_is_measured_as_int8(fresh: QuantizedStudent) -> None:
    latency = compare_latency(
        deployed(fresh), build("float32"), SHAPE, CPU, idle=False, seconds=0.2
    )

    assert latency.precision == "int8"
    assert latency.batch_1_ms.median > 0


def test_a_killed_training_goes_on_to_the_same_bits(
    trained: tuple[QuantizedStudent, list[float], Path],
    fresh: QuantizedStudent,
    digits: ImageData,
) -> None:
    whole, scores, path = trained
    again = trainer(copy.deepcopy(fresh), digits)
    again.load_state(checkpoint.load(path))

    assert [again.run_epoch().val_score for _ in range(3)] == scores[3:]
    state = again.student.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in whole.state_dict().items())


def test_a_student_built_anew_takes_the_kept_weights(
    trained: tuple[QuantizedStudent, list[float], Path], shipped: Int8Network, digits: ImageData
) -> None:
    anew = build()
    anew.load_state_dict(trained[0].state_dict())

    assert torch.equal(logits(deployed(anew), 64, digits), logits(shipped, 64, digits))


def of_a_processor(monkeypatch: pytest.MonkeyPatch, *, vnni: bool) -> QuantizedStudent:
    monkeypatch.setattr(int8, "has_vnni", lambda: vnni)
    student = build()
    assert isinstance(student, QuantizedStudent)
    return student


@pytest.mark.parametrize(("trained_with_vnni", "bits"), [(True, 8), (False, 7)])
def test_on_another_processor_it_stays_the_network_that_was_trained(
    trained_with_vnni: bool, bits: int, digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = of_a_processor(monkeypatch, vnni=trained_with_vnni)
    there.train()(torch.randn(8, 3, 32, 32))
    here = of_a_processor(monkeypatch, vnni=not trained_with_vnni)
    untouched = logits(copy.deepcopy(here).eval(), 32, digits)
    here.load_state_dict(there.state_dict())

    wanted, found = (logits(student.eval(), 32, digits) for student in (there, here))
    assert torch.equal(found, wanted)
    assert not torch.equal(untouched, wanted)
    images = torch.randn(8, 3, 32, 32)
    for student in (there, here):
        student.train()(images)
    own, theirs = here.state_dict(), there.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in theirs.items())
    older = there.state_dict()
    del older["largest_weight"]
    of_a_processor(monkeypatch, vnni=trained_with_vnni).load_state_dict(older)
    monkeypatch.setattr(int8, "has_vnni", lambda: not trained_with_vnni)
    if bits == 8:
        with pytest.raises(NoInt8KernelError, match="its weights have eight bits"):
            deployed(here)
    else:
        weights = [value for value in deployed(here).parameters() if value.dtype == torch.int8]
        assert max(int(value.max()) for value in weights) == 63


def test_twins_start_from_the_same_weights_and_the_same_random_state(
    fresh: QuantizedStudent,
) -> None:
    build("int8")
    after_int8 = torch.get_rng_state()
    twin = build("float32")

    assert torch.equal(torch.get_rng_state(), after_int8)
    own = fresh.state_dict()
    assert all(
        torch.equal(value, own[f"graph.network.{name}"])
        for name, value in twin.state_dict().items()
    )


def test_scoring_leaves_ranges_and_statistics_alone(fresh: QuantizedStudent) -> None:
    student = copy.deepcopy(fresh)
    before = {name: value.clone() for name, value in student.train().state_dict().items()}
    student.eval()
    student(100 * torch.randn(8, 3, 32, 32))
    student.train()

    after = student.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def moves_and_rounds(student: QuantizedStudent) -> tuple[bool, bool]:
    """Whether a step in train mode changes a range, and whether a weight is rounded in it."""
    student.train()
    images = 3 * torch.randn(8, 3, 32, 32)
    ranges = {n: v.clone() for n, v in student.state_dict().items() if n.endswith("max_val")}
    student(images)
    now = student.state_dict()
    moved = any(not torch.equal(value, now[name]) for name, value in ranges.items())
    quantisers = [m for m in student.modules() if hasattr(m, "fake_quant_enabled")]
    return moved, all(bool(m.fake_quant_enabled) for m in quantisers)


@pytest.mark.parametrize(
    ("epochs", "stages"),
    [
        (8, [(True, False)] * 2 + [(True, True)] * 4 + [(False, True)] * 2),
        (1, [(True, True)]),
        (2, [(True, True)] * 2),
    ],
)
def test_it_observes_then_rounds_then_its_ranges_stand_still(
    fresh: QuantizedStudent, epochs: int, stages: list[tuple[bool, bool]]
) -> None:
    student = copy.deepcopy(fresh)

    found = []
    for epoch in range(epochs):
        student.begin_epoch(epoch, epochs)
        found.append(moves_and_rounds(student))
    assert found == stages


def test_in_eval_mode_it_rounds_in_every_epoch(fresh: QuantizedStudent) -> None:
    student = copy.deepcopy(fresh)
    images = torch.randn(4, 3, 32, 32)
    answers = []
    for epoch in (0, 7):
        student.begin_epoch(epoch, 8)
        answers.append(student.eval()(images))

    assert torch.equal(answers[0], answers[1])


def test_feature_maps_are_tapped_as_those_of_the_float_network(fresh: QuantizedStudent) -> None:
    images = torch.randn(4, 3, 32, 32)
    maps = []
    for network in (copy.deepcopy(fresh), build("float32")):
        network.eval()
        with Taps(network, STAGES) as taps:
            network(images)
            maps.append(taps.features())

    assert [m.shape for m in maps[0]] == [m.shape for m in maps[1]]
    for rounded, exact in zip(*maps, strict=True):
        assert functional.cosine_similarity(rounded.flatten(), exact.flatten(), dim=0) > 0.99


def test_feature_maps_carry_gradients_to_the_weights(fresh: QuantizedStudent) -> None:
    student = copy.deepcopy(fresh).train()
    with Taps(student, ("layer2",)) as taps:
        student(torch.randn(4, 3, 32, 32))
        taps.features()[0].square().mean().backward()

    weight = student.get_parameter("graph.network.conv1.weight")
    assert weight.grad is not None
    assert weight.grad.abs().sum() > 0


def test_a_layer_that_would_stay_in_float32_is_refused() -> None:
    with torch.no_grad(), pytest.raises(NoInt8KernelError, match="0 of 7 layers"):
        _lower(build("float32").eval(), SHAPE)


def test_an_int8_network_is_not_moved_to_another_device(shipped: Int8Network) -> None:
    assert shipped.to(CPU).to(memory_format=torch.channels_last) is shipped
    with pytest.raises(NoInt8KernelError, match="--gpus-per-trial"):
        shipped.to("meta")


def test_without_torchao_int8_is_refused_and_float32_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    assert SPACE.refuses is not None

    problem = SPACE.refuses(SPACE, 10, SHAPE)
    assert problem is not None
    assert "pip install '.[quantize]'" in problem
    held = SPACE.with_fixed({"precision": "float32"})
    assert SPACE.refuses(held, 10, SHAPE) is None
