"""Finding a search space by name, in a file of one's own, or in a module."""

import hashlib
import importlib
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from search_spaces.own_methods import methods_of_file
from search_spaces.space import SearchSpace, SpaceError, nearest

BUILT_IN = (
    "cifar_blocks",
    "mnist_dense",
    "cifar_hybrid",
    "mnist_subclass",
    "cifar_modern",
    "cifar_cnn",
    "mhist_mobilenet",
    "cifar_quantized",
    "cifar_self",
    "pairs_autoencoder",
)
ATTRIBUTE = "SPACE"
# Modules made from files of one's own; nobody else can import them.
FILE_MODULE_PREFIX = "_space_"


def load_space(spec: str) -> SearchSpace:
    """Return the space that ``spec`` names.

    Args:
        spec: A built-in name (``cifar_blocks``), a file (``my_space.py``, which defines
            ``SPACE``), or ``package.module:ATTRIBUTE``.

    Raises:
        SpaceError: if there is no such space; the message names the nearest one.
    """
    if spec in BUILT_IN:
        return _attribute(importlib.import_module(f"search_spaces.{spec}"), ATTRIBUTE, spec)
    if spec.endswith(".py"):
        module = _module_of_file(Path(spec))
        space = _attribute(module, ATTRIBUTE, spec)
        own = methods_of_file(space.methods, module.__name__, Path(spec))
        return _described(replace(space, methods=own), spec)
    module_name, colon, attribute = spec.partition(":")
    if not colon:
        raise SpaceError(
            f"search space {spec!r} is unknown{nearest(spec, BUILT_IN)} "
            "(or give a file, my_space.py, or module:ATTRIBUTE)"
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise SpaceError(
            f"search space {spec!r}: {module_name} cannot be imported ({error}); "
            "check the name and PYTHONPATH"
        ) from None
    return _described(_attribute(module, attribute, spec), spec)


def told(error: BaseException) -> str:
    """Return where an error of a user's code arose, its kind, and its first line."""
    line = error.__traceback__
    while line is not None and line.tb_next is not None:
        line = line.tb_next
    number = error.lineno if isinstance(error, SyntaxError) else line and line.tb_lineno
    where = "" if number is None else f"line {number}: "
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{where}{type(error).__name__}: {said.splitlines()[0] if said else ''}"


def _described(space: SearchSpace, spec: str) -> SearchSpace:
    """Return a space of a user's own, once it can tell its default student by name.

    Raises:
        SpaceError: if it cannot.
    """
    default = space.complete({})
    try:
        space.describe(default)
    except Exception as error:
        raise SpaceError(
            f"search space {spec}: describe fails for the default configuration, {told(error)}; "
            f"it is given {', '.join(default)}"
        ) from None
    return space


def file_hash(spec: str) -> str | None:
    """Return 16 hex digits of the file of one's own that ``spec`` names; None of what is none."""
    path = Path(spec)
    if not spec.endswith(".py") or not path.is_file():
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _module_of_file(path: Path) -> ModuleType:
    if not path.is_file():
        beside = sorted(other.name for other in path.parent.glob("*.py"))
        close = nearest(path.name, beside) if beside else "; check the path"
        raise SpaceError(f"search space {path}: there is no such file{close}")
    name = f"{FILE_MODULE_PREFIX}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SpaceError as error:
        raise SpaceError(f"search space {path}: {error}") from None
    except Exception as error:
        # The file is the user's: whatever it raises is their mistake, to be named, not traced.
        raise SpaceError(f"search space {path}: {told(error)}") from None
    return module


def _attribute(module: ModuleType, name: str, spec: str) -> SearchSpace:
    value = getattr(module, name, None)
    if isinstance(value, SearchSpace):
        return value
    spaces = [key for key, other in vars(module).items() if isinstance(other, SearchSpace)]
    if not spaces:
        raise SpaceError(
            f"search space {spec!r}: it defines no SearchSpace; add {name} = SearchSpace(…)"
        )
    raise SpaceError(f"search space {spec!r}: it has no space called {name}{nearest(name, spaces)}")
