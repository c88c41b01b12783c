"""How a student is taught: one method a file, and the one place that chooses among them.

A method sees what both networks say of one batch, and answers with its loss and the terms it is
made of. To add one here, write a file with a frozen dataclass like those here and a `from_params`,
and give it a name in `METHODS`. A space may bring methods of its own, under other names.
"""

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from study.distillation.methods import (
    dist,
    dkd,
    exits,
    features,
    logit_std,
    patient,
    quantized,
    response,
    subclass,
    targets,
)
from study.distillation.methods.base import Answers, FeatureTaps, Method, MethodError, Mixing
from study.distillation.methods.own import Declared, build_own
from study.distillation.methods.response import TERMS, CrossEntropy, Response

__all__ = [
    "METHODS",
    "TERMS",
    "Answers",
    "CrossEntropy",
    "FeatureTaps",
    "Method",
    "MethodError",
    "Mixing",
    "Response",
    "build",
]

METHODS: Mapping[str, Callable[[Mapping[str, Any]], Method]] = {
    "none": lambda params: CrossEntropy(),
    "response": response.from_params,
    "hybrid": features.from_params,
    "quantized": quantized.from_params,
    "dkd": dkd.from_params,
    "dist": dist.from_params,
    "logit_std": logit_std.from_params,
    "patient": patient.from_params,
    "targets": targets.from_params,
    "self": exits.from_params,
    "subclass": subclass.from_params,
    "subclass-teacher": subclass.teacher_from_params,
}


def build(params: Mapping[str, Any], own: Mapping[str, Declared] | None = None) -> Method:
    """The method that a trial's parameters ask for.

    Args:
        params: `method` is a name in `METHODS` or `own` (default `response`); what makes the method
            says what else it reads. With an `exit` the student has several, and each is taught so.
            Other keys belong to others and are left alone.
        own: Methods that the space declares, by name.

    Raises:
        MethodError: There is no such method, it cannot be loaded, or a parameter is missing or
            outside its range.
    """
    own = own or {}
    name = params.get("method", "response")
    for shadowing in own.keys() & METHODS.keys():
        raise MethodError(
            f"the space declares a method {shadowing!r}, which is built in; give it another name"
        )
    if name in own:
        return _at_exits(build_own(name, own[name], params), params)
    if name not in METHODS:
        raise MethodError(f"no method {name!r}; {_instead(str(name), [*METHODS, *own])}")
    return _at_exits(METHODS[name](params), params)


def _at_exits(method: Method, params: Mapping[str, Any]) -> Method:
    return exits.at_every_exit(method) if exits.EXIT in params else method


def _instead(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"choose {', '.join(known)}"
