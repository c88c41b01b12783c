"""The space of modern methods: what each row trains by, and where it refuses to."""

import pytest

from search_spaces.cifar_blocks import SPACE as BLOCKS
from search_spaces.cifar_modern import SPACE
from search_spaces.space import Value, configuration_key
from study.distillation import methods

SHAPE = (32, 32, 3)


def refusal(classes: int, **fixed: Value) -> str | None:
    space = SPACE.with_fixed(fixed)
    assert space.refuses is not None
    return space.refuses(space, classes, SHAPE)


def test_every_method_of_the_space_can_be_built_with_its_defaults() -> None:
    for name in ("response", "dkd", "dist", "logit_std", "patient"):
        method = methods.build(SPACE.complete({"method": name}))
        assert method.name == name
        assert method.needs_network == (name == "patient")
    assert not methods.build(SPACE.complete({"method": "none"})).needs_teacher


@pytest.mark.parametrize("name", ["dkd", "dist", "logit_std"])
def test_the_defaults_of_the_space_are_those_of_the_methods(name: str) -> None:
    assert methods.build(SPACE.complete({"method": name})) == methods.build({"method": name})


def test_a_configuration_holds_the_parameters_of_its_method_alone() -> None:
    shared = set(SPACE.complete({"method": "none"}))
    own = {
        name: set(SPACE.complete({"method": name})) - shared
        for name in ("response", "dkd", "dist", "logit_std", "patient")
    }
    assert own == {
        "response": {"temperature", "alpha"},
        "dkd": {"temperature", "target_weight", "non_target_weight", "warmup"},
        "dist": {"temperature", "inter_weight", "intra_weight"},
        "logit_std": {"base_temperature", "kd_weight", "ce_weight"},
        "patient": {"mixup"},
    }


def test_the_recipes_are_seven_configurations_of_one_student_with_one_control() -> None:
    rows = [SPACE.complete(row.params) for row in SPACE.presets["recipes"]]
    assert len({configuration_key(row) for row in rows}) == len(rows) == 7
    assert len({SPACE.describe(row) for row in rows}) == 1
    (control,) = [row for row in rows if SPACE.is_control(row)]
    assert all(SPACE.control_of(row) == control for row in rows)
    assert not any(row.published for row in SPACE.presets["recipes"])


def test_the_students_are_those_of_cifar_blocks() -> None:
    overrides: dict[str, Value] = {"blocks_2": 0, "stem_stride": 4, "width": 32}
    assert SPACE.describe(SPACE.complete(overrides)) == BLOCKS.describe(BLOCKS.complete(overrides))
    assert SPACE.teachers == BLOCKS.teachers


def test_two_classes_are_refused_with_the_methods_and_the_mend() -> None:
    assert refusal(2) == (
        "dkd, dist and logit_std have no signal with 2 classes; add --fix method=response"
    )
    assert refusal(2, method="dist") == (
        "dist has no signal with 2 classes; add --fix method=response"
    )
    for method in ("response", "patient", "none"):
        assert refusal(2, method=method) is None
    assert refusal(3) is None
