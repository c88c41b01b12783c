"""What a space may declare of methods of its own, and what of them is another plan."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search_spaces.catalogue import load_space
from search_spaces.cifar_blocks import SPACE as PLAIN
from search_spaces.cifar_modern import SPACE
from search_spaces.own_methods import FileMethod
from search_spaces.space import Choice, SearchSpace, SpaceError

FILE = """\
from dataclasses import replace
from search_spaces import cifar_modern
from search_spaces.space import Choice

class Margin:
    WIDTH = 1.0

SPACE = replace(
    cifar_modern.SPACE, name="mine", presets={}, methods={"margin": METHOD},
    parameters=tuple(
        replace(p, choices=(*p.choices, "margin")) if p.name == "method" else p
        for p in cifar_modern.SPACE.parameters
    ),
)
"""


def with_method(declared: Any, name: str = "margin") -> SearchSpace:
    parameters = tuple(
        replace(p, choices=(*p.choices, "margin"))
        if isinstance(p, Choice) and p.name == "method"
        else p
        for p in SPACE.parameters
    )
    return replace(SPACE, parameters=parameters, methods={name: declared})


def hash_of(space: SearchSpace) -> str:
    found: str = space.to_json()["hash"]
    return found


def file_space(folder: Path, method: str, source: str = FILE) -> SearchSpace:
    path = folder / "mine.py"
    path.write_text(source.replace("METHOD", method))
    return load_space(str(path))


def margin(params: Any) -> None: ...


def other(params: Any) -> None: ...


@pytest.mark.parametrize(
    ("declared", "name", "words"),
    [
        (margin, "margn", "the method 'margn' is declared, .*; did you mean margin"),
        ("my_methods", "margin", "'my_methods', which is not of the form module:NAME"),
        ("my methods:Margin", "margin", "not of the form module:NAME"),
        ("my_methods:", "margin", "not of the form module:NAME"),
        (3, "margin", "is 3, neither a function of params nor module:NAME"),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_refused_when_it_is_made(
    declared: Any, name: str, words: str
) -> None:
    with pytest.raises(SpaceError, match=words):
        with_method(declared, name)


def test_methods_need_a_parameter_that_names_them() -> None:
    with pytest.raises(SpaceError, match="no Choice is called 'method' to name them"):
        replace(PLAIN, methods={"margin": margin})


def test_a_space_without_methods_of_its_own_keeps_its_hash() -> None:
    assert "methods" not in SPACE.to_json()
    assert hash_of(with_method(margin)) != hash_of(replace(with_method(margin), methods={}))


def test_another_method_under_the_same_name_is_another_plan() -> None:
    declared = (margin, other, "my_methods:Margin", "my_methods:Other", "your_methods:Margin")
    assert len({hash_of(with_method(each)) for each in declared}) == len(declared)
    assert hash_of(with_method(margin)) == hash_of(with_method(margin))


def test_a_method_of_the_space_s_file_is_told_by_the_file_s_text(tmp_path: Path) -> None:
    before = file_space(tmp_path, "Margin")
    again = file_space(tmp_path, "Margin")
    after = file_space(tmp_path, "Margin", FILE.replace("1.0", "2.0"))

    assert hash_of(before) == hash_of(again) != hash_of(after)
    method = before.methods["margin"]
    assert isinstance(method, FileMethod)
    assert (method.reference, method.text) == ("mine:Margin", None)
    assert method.builder is not None


def test_a_method_of_a_file_beside_the_space_travels_as_text_and_is_told_by_it(
    tmp_path: Path,
) -> None:
    beside = tmp_path / "my_methods.py"
    beside.write_text("import a_module_that_nobody_has\n")
    before = file_space(tmp_path, "'my_methods:Margin'")
    method = before.methods["margin"]
    beside.write_text("WIDTH = 2.0\n")

    assert isinstance(method, FileMethod)
    assert method.text == "import a_module_that_nobody_has\n"  # read, not imported
    assert (method.reference, method.path) == ("my_methods:Margin", str(beside))
    assert hash_of(file_space(tmp_path, "'my_methods:Margin'")) != hash_of(before)


def test_a_reference_to_no_file_beside_the_space_is_to_an_installed_module(tmp_path: Path) -> None:
    space = file_space(tmp_path, "'json:loads'")
    assert space.methods == {"margin": "json:loads"}
    assert space.to_json()["methods"] == {"margin": {"reference": "json:loads", "digest": None}}


def test_holding_a_parameter_keeps_the_methods(tmp_path: Path) -> None:
    space = file_space(tmp_path, "Margin")
    held = space.with_fixed({"method": "margin"}).with_objectives(("score", "latency"))
    assert held.methods == space.methods
