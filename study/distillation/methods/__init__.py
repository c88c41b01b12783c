"""How a student is taught: one method a file, and the one place that chooses among them.

A method sees what both networks say of one batch, and answers with its loss and the terms it is
made of. To add one, write a file with a frozen dataclass like those here and a `from_params`, and
give it a name in `METHODS`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from study.distillation.methods import (
    dist,
    dkd,
    exits,
    features,
    logit_std,
    patient,
    response,
    subclass,
    targets,
)
from study.distillation.methods.base import Answers, FeatureTaps, Method, MethodError, Mixing
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
    "dkd": dkd.from_params,
    "dist": dist.from_params,
    "logit_std": logit_std.from_params,
    "patient": patient.from_params,
    "targets": targets.from_params,
    "self": exits.from_params,
    "subclass": subclass.from_params,
    "subclass-teacher": subclass.teacher_from_params,
}


def build(params: Mapping[str, Any]) -> Method:
    """The method that a trial's parameters ask for.

    Args:
        params: `method` is a name in `METHODS` (default `response`), whose `from_params` says
            what else it reads. With an `exit` the student has several, and each is taught so.
            Other keys belong to others and are left alone.

    Raises:
        MethodError: There is no such method, or a parameter is missing or outside its range.
    """
    name = params.get("method", "response")
    if name not in METHODS:
        raise MethodError(f"no method {name!r}; choose {', '.join(METHODS)}")
    method = METHODS[name](params)
    return exits.at_every_exit(method) if exits.EXIT in params else method
