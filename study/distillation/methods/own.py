"""Methods of one's own: loaded on a worker, held to the protocol, and tried before any training.

Whatever goes wrong in a user's code is named with its file and line.
"""

import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Protocol, TypeAlias

import torch

from study.distillation.methods.base import Answers, FeatureTaps, Method, MethodError
from study.distillation.users_code import users_line

Builder: TypeAlias = Callable[[Mapping[str, Any]], Any]
_IMAGES = 4
_MEMBERS = ("name", "needs_teacher", "needs_network", "taps", "at", "loss")


class InFile(Protocol):
    """A method of a file: its builder, or the file's text, from which it is made here."""

    @property
    def reference(self) -> str:
        """`module:NAME`."""
        ...

    @property
    def path(self) -> str:
        """The file, for people: it need not be here."""
        ...

    @property
    def digest(self) -> str:
        """Of the text."""
        ...

    @property
    def text(self) -> str | None:
        """What the file says; None where there is a builder."""
        ...

    @property
    def builder(self) -> Builder | None:
        """What the file defines, if it came along."""
        ...


Declared: TypeAlias = "str | Builder | InFile"


def build_own(name: str, declared: Declared, params: Mapping[str, Any]) -> Method:
    """The method of one's own that a trial's parameters ask for.

    Args:
        name: The value of `method` that names it.
        declared: `params -> Method`, `module:NAME` of such, or one that a file defines.
        params: All of the trial's, and `classes`, of the data.

    Raises:
        MethodError: It cannot be imported or made, or lacks what the protocol `Method` asks for.
    """
    builder = _loaded(name, declared)
    try:
        method = builder(params)
    except MethodError as error:
        raise MethodError(f"method {name}: {error}") from None
    except Exception as error:
        raise MethodError(f"method {name} cannot be made: {_said(error)}") from None
    for problem in _protocol_problems(method):
        raise MethodError(
            f"method {name}: {problem}; the protocol is Method in study.distillation.methods"
        )
    own: Method = method
    return own


def rehearse(
    name: str,
    method: Method,
    classes: int,
    features: tuple[tuple[int, ...], ...] = (),
) -> None:
    """Have a method judge made-up answers to a few images, as it will those of a first batch.

    Draws from a generator of its own.

    Args:
        name: The value of `method` that names it.
        method: The method.
        classes: Columns of both networks' logits.
        features: Shape of one image's feature map at each tap, after projection.

    Raises:
        MethodError: It raises an error, or what it returns cannot be learnt from.
    """
    draws = torch.Generator().manual_seed(0)

    def made_up(*shape: int, learns: bool) -> torch.Tensor:
        return torch.randn(_IMAGES, *shape, generator=draws).requires_grad_(learns)

    paired = features if method.taps and method.taps.teacher else ()
    answers = Answers(
        made_up(classes, learns=True),
        torch.arange(_IMAGES) % classes,
        made_up(classes, learns=False) if method.needs_teacher else None,
        tuple(made_up(*shape, learns=True) for shape in features),
        tuple(made_up(*shape, learns=False) for shape in paired),
    )
    try:
        terms = method.at(0, 1).loss(answers)
    except MethodError as error:
        raise MethodError(f"method {name}: {error}") from None
    except Exception as error:
        raise MethodError(f"method {name} fails on a batch of {_IMAGES}: {_said(error)}") from None
    problem = _problem_of_terms(terms)
    if problem:
        raise MethodError(f"method {name}: its loss returns {problem}")


def _problem_of_terms(terms: Any) -> str | None:
    """What keeps a student from learning from what `loss` returned, or nothing."""
    if not isinstance(terms, Mapping):
        return f'{_kind(terms)}, not a dict of tensors with the total as "loss"'
    if "loss" not in terms:
        return f'a dict of {", ".join(map(repr, terms)) or "nothing"} without the total, "loss"'
    for key, term in terms.items():
        if not isinstance(term, torch.Tensor) or term.dim() != 0:
            return f"{_kind(term)} as {key!r}, not a tensor of one number"
    if not terms["loss"].requires_grad:
        return 'a "loss" without a gradient: it does not depend on what the student answers'
    return None


def _protocol_problems(method: Any) -> list[str]:
    """What a method lacks of the protocol; with every member there, which of them is unfit."""
    missing = [member for member in _MEMBERS if not hasattr(method, member)]
    if missing:
        return [f"{_kind(method)} lacks {', '.join(missing)}"]
    if not (callable(method.at) and callable(method.loss)):
        return [f"at and loss of {_kind(method)} must be functions"]
    problems = [
        f"{flag} is {getattr(method, flag)!r}, neither True nor False"
        for flag in ("needs_teacher", "needs_network")
        if not isinstance(getattr(method, flag), bool)
    ]
    taps = method.taps
    if taps is not None and not isinstance(taps, FeatureTaps):
        problems.append(f"taps is {taps!r}, neither None nor FeatureTaps")
    elif taps and taps.teacher and not (method.needs_teacher and method.needs_network):
        problems.append("taps need the teacher's network: set needs_teacher and needs_network")
    return problems


def _loaded(name: str, declared: Declared) -> Builder:
    """What makes the method: given, imported, or defined by the text of a file."""
    if isinstance(declared, str):
        reference = declared
    elif callable(declared):
        return declared
    elif declared.builder is not None:
        return declared.builder
    else:
        reference = declared.reference
    module_name, _, attribute = reference.partition(":")
    try:
        module = (
            importlib.import_module(module_name)
            if isinstance(declared, str)
            else _module_of_text(module_name, declared)
        )
    except Exception as error:
        where = "" if isinstance(declared, str) else f" ({declared.path})"
        raise MethodError(
            f"method {name}: {reference}{where} cannot be imported: {_said(error)}"
            + _mend(error, module_name)
        ) from None
    builder = getattr(module, attribute, None)
    if not callable(builder):
        where = module_name if isinstance(declared, str) else declared.path
        raise MethodError(f"method {name}: {where} defines no function or class {attribute}")
    made: Builder = builder
    return made


def _module_of_text(name: str, file: InFile) -> ModuleType:
    """The module of a file's text, made once in a process."""
    unique = f"_method_{name.replace('.', '_')}_{file.digest}"
    if unique in sys.modules:
        return sys.modules[unique]
    module = ModuleType(unique)
    module.__file__ = file.path
    # Its dataclasses look for their module while they are made.
    sys.modules[unique] = module
    try:
        exec(compile(file.text or "", file.path, "exec"), vars(module))
    except BaseException:
        del sys.modules[unique]
        raise
    return module


def _mend(error: Exception, module: str) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name in {module, module.partition(".")[0]}:
        return f"; put {module}.py beside the space's file, or install it where workers run"
    return ""


def _said(error: Exception) -> str:
    """An error in one line, with the user's file and line: that file's innermost."""
    first = str(error).splitlines()[0] if str(error) else ""
    text = f"{type(error).__name__}: {first}" if first else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    line = users_line(error, (__file__, importlib.__file__, "<frozen"))
    return text if line is None else f"{line.filename}, line {line.lineno}: {text}"


def _kind(value: Any) -> str:
    """What a value is, for a message."""
    return "None" if value is None else f"a {type(value).__name__}"
