"""Each benchmark can be started: what it imports is there."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "tests" / "benchmarks").rglob("*.py")
)


@pytest.mark.parametrize("module", MODULES)
def test_a_benchmark_imports_what_is_there(module: str) -> None:
    assert importlib.import_module(module).__file__ is not None
