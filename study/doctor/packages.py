"""Python and the packages: there, new enough, and working together."""

import importlib.metadata
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.doctor.check import Check, Scope, first_line

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_DISTRIBUTION = "distillation-study"
_INSTALL = "source .venv/bin/activate, or python -m pip install --editable ."
_SHOWN = ("torch", "ray", "optuna", "mlflow")


def check_python(scope: Scope) -> Check:
    """Say whether this Python is new enough."""
    found = platform.python_version()
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return Check("python", "note", f"{found}; packages are missing that tell what is needed")
    wanted = required_python()
    if wanted is None or SpecifierSet(wanted).contains(found, prereleases=True):
        return Check("python", "ok", f"{found} ({platform.platform(terse=True)})")
    return Check(
        "python",
        "fail",
        f"{found}, and {wanted} is needed",
        f"make PYTHON=/path/to/python{wanted.lstrip('>=~')} study",
    )


def check_packages(scope: Scope) -> Check:
    """Say which of the packages that the project requires are missing or too old."""
    try:
        needed = required_packages()
        versions = {item.name: _version(item.name) for item in needed}
    except ImportError as error:  # what reads requirements is itself a package of theirs
        return Check("packages", "fail", first_line(error), _INSTALL)
    if not needed:
        return Check("packages", "note", "what is required cannot be told", _INSTALL)
    wrong = []
    for item in needed:
        version = versions[item.name]
        if version is None:
            wrong.append(f"{item.name} is missing")
        elif not item.specifier.contains(version, prereleases=True):
            wrong.append(f"{item.name} {version} is not {item.specifier}")
    if wrong:
        return Check("packages", "fail", ", ".join(wrong), _INSTALL)
    shown = ", ".join(f"{name} {versions[name]}" for name in _SHOWN if name in versions)
    return Check("packages", "ok", f"all {len(needed)} that are required ({shown})")


def check_torch(scope: Scope) -> Check:
    """Say whether torch and torchvision fit each other, and take one step of training."""
    import torch

    try:
        import torchvision
    except (ImportError, RuntimeError, AttributeError) as error:
        return Check(
            "torch",
            "fail",
            f"torchvision does not work beside torch {torch.__version__} ({first_line(error)})",
            "install both from one place: python -m pip install --force-reinstall torch "
            "torchvision",
        )
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(144, 2),
    )
    loss = torch.nn.functional.cross_entropy(model(torch.randn(2, 3, 8, 8)), torch.tensor([0, 1]))
    loss.backward()  # type: ignore[no-untyped-call]
    text = f"{torch.__version__}, torchvision {torchvision.__version__}"
    gradients = [parameter.grad for parameter in model.parameters()]
    if not all(grad is not None and bool(grad.isfinite().all()) for grad in gradients):
        mend = "install another build of torch"
        return Check("torch", "fail", f"{text}: a step of training on the CPU goes wrong", mend)
    return Check("torch", "ok", f"{text}; a step of training on the CPU works")


def required_packages() -> "tuple[Requirement, ...]":
    """Return what the project requires here, without its extras."""
    from packaging.requirements import Requirement

    try:
        declared = importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        declared = _pyproject().get("dependencies", [])
    parsed = [Requirement(text) for text in declared]
    return tuple(
        item for item in parsed if item.marker is None or item.marker.evaluate({"extra": ""})
    )


def required_python() -> str | None:
    """Return the Python versions that the project takes, as in ``>=3.11``."""
    try:
        return importlib.metadata.metadata(_DISTRIBUTION)["Requires-Python"]
    except importlib.metadata.PackageNotFoundError:
        return _pyproject().get("requires-python")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _pyproject() -> dict[str, Any]:
    """What the checkout that this runs from declares; nothing where it is no checkout."""
    import tomllib  # an older Python, which is to be told so, has none

    path = Path(__file__).parents[2] / "pyproject.toml"
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return {}
    return dict(project)
