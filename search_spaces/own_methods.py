"""Methods of one's own: how a space declares them, how they travel, what of them is hashed.

Nothing is imported here: a method needs torch, and is loaded on the workers, by
``study.distillation.methods.own``.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from search_spaces.parameters import Choice, Parameter, Params, nearest

# The trial parameter whose value names a method.
METHOD_PARAMETER = "method"

Builder: TypeAlias = Callable[[Params], Any]


@dataclass(frozen=True)
class FileMethod:
    """A method that a file of one's own defines, so that workers need not have the file.

    Attributes:
        reference: ``my_methods:Margin``.
        path: The file.
        digest: Of the file's text, 16 hex digits.
        text: The file's text, to be run on the worker; None where ``builder`` travels instead.
        builder: What the space's own file defines, which travels with the space.
    """

    reference: str
    path: str
    digest: str
    text: str | None = None
    builder: Builder | None = None


DeclaredMethod: TypeAlias = str | Builder | FileMethod


def method_problems(methods: Mapping[str, Any], parameters: tuple[Parameter, ...]) -> Iterator[str]:
    """Say how the declared methods contradict themselves or the parameters of their space."""
    if not methods:
        return
    chooser = next((p for p in parameters if p.name == METHOD_PARAMETER), None)
    if not isinstance(chooser, Choice):
        yield f"methods are declared, and no Choice is called {METHOD_PARAMETER!r} to name them"
        return
    for name, declared in methods.items():
        if name not in chooser.choices:
            values = [str(choice) for choice in chooser.choices]
            yield (
                f"the method {name!r} is declared, and the parameter {METHOD_PARAMETER} never "
                f"takes that value{nearest(name, values)}"
            )
        elif isinstance(declared, str):
            module, _, attribute = declared.partition(":")
            if not all(map(str.isidentifier, (*module.split("."), attribute))):
                yield f"the method {name} is {declared!r}, which is not of the form module:NAME"
        elif not callable(declared) and not isinstance(declared, FileMethod):
            yield f"the method {name} is {declared!r}, neither a function of params nor module:NAME"


def methods_json(methods: Mapping[str, DeclaredMethod]) -> dict[str, dict[str, str | None]]:
    """Describe declared methods for the record and for the space's hash.

    A method that a file of one's own defines is told by the file's whole text; any other, which is
    installed where workers run, by its reference alone.
    """
    return {
        name: {
            "reference": _reference(declared),
            "digest": declared.digest if isinstance(declared, FileMethod) else None,
        }
        for name, declared in methods.items()
    }


def methods_of_file(
    methods: Mapping[str, DeclaredMethod], module: str, path: Path
) -> dict[str, DeclaredMethod]:
    """Return the methods that the space file ``path`` declares, each with what it takes to travel.

    A reference to ``my_methods:NAME`` is one to ``my_methods.py`` beside the space's file, if it is
    there, as it would be for a script; otherwise to a module that is installed.

    Args:
        methods: As declared.
        module: Name of the module made of the space's file.
        path: The space's file.
    """
    return {name: _travelling(declared, module, path) for name, declared in methods.items()}


def _travelling(declared: DeclaredMethod, module: str, path: Path) -> DeclaredMethod:
    if isinstance(declared, FileMethod):
        return declared
    if not isinstance(declared, str):
        if getattr(declared, "__module__", None) != module:
            return declared
        reference = f"{path.stem}:{_name(declared)}"
        return FileMethod(reference, str(path), _digest(path.read_text()), builder=declared)
    beside = path.parent.joinpath(*declared.partition(":")[0].split(".")).with_suffix(".py")
    if not beside.is_file():
        return declared
    text = beside.read_text()
    return FileMethod(declared, str(beside), _digest(text), text=text)


def _reference(declared: DeclaredMethod) -> str:
    if isinstance(declared, str):
        return declared
    if isinstance(declared, FileMethod):
        return declared.reference
    return f"{getattr(declared, '__module__', '')}:{_name(declared)}"


def _name(declared: Builder) -> str:
    return str(getattr(declared, "__qualname__", type(declared).__qualname__))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
