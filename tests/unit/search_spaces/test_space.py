import re
from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces.catalogue import BUILT_IN, load_space
from search_spaces.cifar_blocks import SPACE
from search_spaces.space import (
    ACCURACY,
    LATENCY,
    WEIGHTED_F1,
    Choice,
    Objective,
    Preset,
    Range,
    SearchSpace,
    SpaceError,
    When,
    configuration_key,
)


def space(*parameters: Choice | Range, **changes: object) -> SearchSpace:
    fields: dict[str, object] = {
        "name": "small",
        "title": "small",
        "description": "small",
        "parameters": parameters,
        "control": {},
        "build_student": lambda params, classes, channels: None,
        "describe": lambda params: "small",
    }
    return SearchSpace(**{**fields, **changes})  # type: ignore[arg-type]


def test_what_is_optimised_follows_from_the_score_and_what_was_asked_for() -> None:
    weighted = space(Choice("x", (1, 2), "x"), score=WEIGHTED_F1)
    small = weighted.with_objectives(("score", "latency", "params"))

    assert weighted.objectives == (
        Objective("val_score", "validation weighted F1", "%", "maximize"),
        LATENCY,
    )
    assert small.objectives == (
        *weighted.objectives,
        Objective("params_m", "parameters", "M", "minimize"),
    )
    assert small.with_objectives(("score", "latency")).objectives == weighted.objectives
    assert small.to_json()["hash"] == weighted.to_json()["hash"]
    assert replace(weighted, score=ACCURACY).to_json()["hash"] != weighted.to_json()["hash"]
    assert weighted.to_json()["score"] == {"name": "weighted F1", "unit": "%", "best": 100.0}


def test_a_configuration_holds_the_conditional_parameters_that_exist_and_no_others() -> None:
    weighted = SPACE.complete({"terms": "weighted", "alpha": 0.3})
    summed = SPACE.complete({"terms": "ce+kl", "alpha": 0.3})
    plain = SPACE.complete({"terms": "ce", "alpha": 0.3})

    assert weighted["alpha"] == 0.3
    assert "temperature" in weighted
    assert "alpha" not in summed
    assert "temperature" in summed
    assert not {"alpha", "temperature"} & set(plain)


def test_the_control_is_the_same_student_and_recipe_without_the_teacher() -> None:
    distilled = SPACE.complete({"blocks_2": 0, "learning_rate": 0.1, "temperature": 2.0})

    control = SPACE.control_of(distilled)

    assert SPACE.is_control(control)
    assert not SPACE.is_control(distilled)
    kept = set(distilled) - {"terms", "temperature", "alpha"}
    assert {name: control[name] for name in kept} == {name: distilled[name] for name in kept}


def test_nothing_is_a_control_in_a_space_that_declares_none() -> None:
    space = replace(SPACE, control={})

    assert not space.is_control(space.complete({}))
    assert not space.is_control(SPACE.control_of(SPACE.complete({})))


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ((Choice("a", (1, 2), ""), Choice("a", (1, 2), "")), "declared twice"),
        ((Choice("a", (), ""),), "no choices"),
        ((Choice("a", (1, 1), ""),), "a choice twice"),
        ((Range("a", 2, 1, ""),), "no range from 2 to 1; give the smaller bound first"),
        ((Range("a", 0, 1, "", log=True),), "by its logarithm; give a low above 0"),
        ((Range("a", 0, 1, "", kind="integer"),), "no kind 'integer'; did you mean int"),  # type: ignore[arg-type]
        ((Range("a", 0, 1, "", default_value=3.0),), "the default of a"),
        ((Choice("a", (1, 2), "", default_value=3),), "the default of a"),
        (
            (Choice("bee", (1,), ""), Choice("a", (1,), "", when=When("be", (1,)))),
            "depends on be, which does not exist; did you mean bee",
        ),
        (
            (Choice("a", (1,), "", when=When("b", (1,))), Choice("b", (1, 2), "")),
            "comes after it",
        ),
        (
            (Choice("b", (1, 2), ""), Choice("a", (1,), "", when=When("b", (3,)))),
            "can never exist",
        ),
    ],
)
def test_a_space_that_contradicts_itself_is_refused_when_it_is_made(
    parameters: tuple[Choice | Range, ...], words: str
) -> None:
    with pytest.raises(SpaceError, match=words):
        space(*parameters)


def test_presets_and_control_must_fit_the_parameters() -> None:
    with pytest.raises(SpaceError, match="preset paper, 'first'"):
        space(Choice("a", (1, 2), ""), presets={"paper": (Preset("first", {"a": 3}),)})
    with pytest.raises(SpaceError, match="did you mean alpha"):
        space(Range("alpha", 0, 1, ""), control={"alhpa": 0.0})


def test_a_finite_space_counts_and_lists_each_configuration_once() -> None:
    small = space(
        Choice("terms", ("ce", "kd"), ""),
        Range("t", 1, 3, "", kind="int", when=When("terms", ("kd",))),
    )

    listed = [configuration_key(params) for params in small.enumerate()]

    assert small.configurations() == 4  # ce, and kd with t of 1, 2 and 3
    assert len(set(listed)) == len(listed) == 4
    assert SPACE.configurations() is None


def test_a_fixed_parameter_keeps_its_value_and_is_not_searched() -> None:
    fixed = SPACE.with_fixed({"width": 16, "temperature": 2.0})

    assert fixed.complete({})["width"] == 16
    assert fixed.complete({})["temperature"] == 2.0
    assert not fixed.parameter("width").searched
    with pytest.raises(SpaceError, match="16, 32, 64"):
        SPACE.with_fixed({"width": 17})


def test_the_published_rows_of_cifar_blocks_are_nine_different_configurations() -> None:
    rows = [SPACE.complete(row.params) for row in SPACE.presets["paper"]]

    assert len({configuration_key(row) for row in rows}) == len(rows) == 9
    assert sum(SPACE.is_control(row) for row in rows) == 2
    assert SPACE.describe(rows[2]) == "[2,2,0,0] stride 1"


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_space_loads_by_name_and_describes_itself(name: str) -> None:
    loaded = load_space(name)

    assert loaded.name == name
    assert loaded.to_json()["hash"] == load_space(name).to_json()["hash"]
    assert len(loaded.to_json()["parameters"]) == len(loaded.parameters)


def test_a_space_without_a_teacher_says_so_and_asks_none() -> None:
    alone = replace(SPACE, teachers={})

    assert not alone.taught
    assert alone.to_json()["taught"] is False
    assert SPACE.to_json()["taught"] is True
    with pytest.raises(SpaceError, match="it declares none"):
        replace(SPACE, teachers={}, teacher_asked="live")


def test_a_preset_s_figures_must_have_a_column_in_its_table() -> None:
    row = replace(SPACE.presets["paper"][0], published={"time_ratoi": 6.58})
    with pytest.raises(SpaceError, match="no column 'time_ratoi'; did you mean time_ratio"):
        replace(SPACE, presets={"paper": (row,)})


OWN = """from search_spaces.space import Range, SearchSpace

SPACE = SearchSpace(
    name="own", title="Own", description="Own.", control={},
    parameters=(Range("layers", 1, 3, "how many", kind="int"),),
    build_student=lambda *_: None,
    describe=lambda params: f"{params['layers']} layers",
)
"""


def test_a_space_of_ones_own_is_loaded_and_can_name_its_students(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    assert load_space(str(path)).describe({"layers": 2}) == "2 layers"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("params['layers']", "params['layrs']"), "describe fails .* line 7: KeyError: 'layrs'"),
        (("parameters=(", "parameters=(("), r"line \d+: SyntaxError: "),
        (('kind="int"', 'kind="whole"'), "no kind 'whole'; choose from real, int"),
    ],
)
def test_a_mistake_in_a_space_of_ones_own_is_named_with_its_line(
    tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    path = tmp_path / "own.py"
    path.write_text(OWN.replace(*change))
    with pytest.raises(SpaceError, match=words) as refused:
        load_space(str(path))
    line = re.search(r"line (\d+)", str(refused.value))
    assert line is None or int(line[1]) <= len(OWN.splitlines())
