"""The rooms and the one direction between them: who may import whom, and when.

study -> search_spaces, cluster, analysis; those three know neither study nor each other.
study/distillation knows torch and its kin, and the networks; analysis reads a record without torch
or Ray.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("study", "search_spaces", "cluster", "analysis")
LONGEST_FILE = 450

HEAVY = frozenset({"torch", "torchvision", "ray", "mlflow", "optuna", "plotly", "pandas"})
# Parsed for `--help` and for refusals, which answer before anything heavy is loaded.
LIGHT = (
    "study/launch.py",
    "study/plan.py",
    "study/__main__.py",
    "study/verbs/*.py",
    "search_spaces/*.py",
)

TORCH_AND_KIN = frozenset(
    {"torch", "torchvision", "torchmetrics", "numpy", "PIL", "sklearn", "captum"}
)
EXTRAS = frozenset({"torchao", "onnx", "onnxruntime", "onnxscript"})


@dataclass(frozen=True)
class Import:
    """One imported module, with where it is imported and whether importing the file does it."""

    file: str
    line: int
    module: str
    at_top: bool

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def modules_of(node: ast.AST, package: list[str]) -> list[str]:
    """Full names of the modules a statement or call imports; `package` holds the file."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = package[: len(package) - node.level + 1] if node.level else []
        module = ".".join([*above, *([node.module] if node.module else [])])
        return [f"{module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in (
        "import_module",
        "__import__",
    ):
        return [a.value for a in node.args[:1] if isinstance(a, ast.Constant)]
    return []


def imports_below(
    node: ast.AST, file: str, package: list[str], at_top: bool = True
) -> Iterator[Import]:
    for module in modules_of(node, package):
        yield Import(file, getattr(node, "lineno", 0), module, at_top)
    lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        child_at_top = at_top and not lazy and not is_type_checking(node)
        yield from imports_below(child, file, package, child_at_top)


def files_of(root: Path) -> list[Path]:
    return sorted(path for room in ROOMS for path in (root / room).rglob("*.py"))


def imports_of(path: Path, root: Path) -> list[Import]:
    inside = path.relative_to(root)
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return list(imports_below(tree, inside.as_posix(), list(inside.parent.parts)))


def is_allowed(found: Import) -> bool:
    """Whether the room of a file may import a module at all."""
    room, *below = found.file.split("/")
    if room == "study" and below[0] == "distillation":
        inside = found.module.startswith(("study.distillation", "search_spaces.networks"))
        known = sys.stdlib_module_names | TORCH_AND_KIN | EXTRAS
        return inside or found.package in known
    if room == "study" or found.package == room:
        return True
    if found.package in ROOMS:
        return False
    return room != "analysis" or found.package not in {"torch", "torchvision", "ray", "mlflow"}


def arrows_broken(root: Path) -> list[str]:
    return [
        str(found)
        for path in files_of(root)
        for found in imports_of(path, root)
        if not is_allowed(found)
    ]


def heavy_at_top(root: Path) -> list[str]:
    return [
        str(found)
        for pattern in LIGHT
        for path in sorted(root.glob(pattern))
        for found in imports_of(path, root)
        if found.at_top and found.package in HEAVY
    ]


def too_long(root: Path) -> list[str]:
    return [
        f"{path.relative_to(root)} has {lines} lines"
        for path in files_of(root)
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_FILE
    ]


def test_rooms_import_in_one_direction() -> None:
    assert len(files_of(ROOT)) > 10
    assert arrows_broken(ROOT) == []


def test_light_modules_name_nothing_heavy_at_their_top() -> None:
    assert heavy_at_top(ROOT) == []


def test_light_modules_load_nothing_heavy_by_others() -> None:
    paths = [path for pattern in LIGHT for path in sorted(ROOT.glob(pattern))]
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in paths]
    names = [name for name in names if not name.endswith("__main__")]
    script = (
        f"import importlib, sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        f"    loaded = {set(HEAVY)!r} & set(sys.modules)\n"
        "    assert not loaded, f'{name} loads {sorted(loaded)}'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_whatever_is_asked_is_checked_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    """Ray above all: it reads on import that it is to listen on loopback only."""
    script = (
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "from search_spaces.catalogue import BUILT_IN\n"
        "from study.arguments import parser\n"
        "from study.resolving import resolve\n"
        "from study.driving import check\n"
        "for space in BUILT_IN:\n"
        "    asked = ['--space', space, '--data', 'digits']\n"
        "    if space == 'pairs_autoencoder':\n"
        "        asked = asked[:2]\n"
        "    plan, found = resolve(parser().parse_args(asked))\n"
        f"    check(plan, found, Path({str(tmp_path)!r}))\n"
        f"    loaded = {{'ray', 'torch', 'mlflow', 'plotly'}} & set(sys.modules)\n"
        "    assert not loaded, f'{space} loads {sorted(loaded)}'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def unpickled(root: Path) -> list[str]:
    """Calls that may run code hidden in the file they read."""
    found = []
    for path in files_of(root):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called, given = ast.unparse(node.func), {k.arg: k.value for k in node.keywords}
            pickles = called.endswith(("pickle.load", "pickle.loads", "Unpickler"))
            tensors = (
                called == "torch.load" and ast.unparse(given.get("weights_only", node)) != "True"
            )
            arrays = ast.unparse(given.get("allow_pickle", ast.Constant(False))) != "False"
            if pickles or tensors or arrays:
                found.append(f"{path.relative_to(root)} calls {called}")
    return found


def test_nothing_is_unpickled_but_what_ray_says_of_a_death() -> None:
    # Ray's own file in its temporary folder; nothing that lies in a folder of studies.
    assert unpickled(ROOT) == ["study/death.py calls ray.cloudpickle.load"]


@pytest.mark.parametrize(
    "call",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "pickle.load(file)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_a_call_that_unpickles_is_found(tmp_path: Path, call: str) -> None:
    path = tmp_path / "study" / "a.py"
    path.parent.mkdir()
    path.write_text(f"import torch, pickle\n{call}\ntorch.load(path, weights_only=True)\n")
    (found,) = unpickled(tmp_path)
    assert found.startswith("study/a.py")


def test_no_file_is_too_long() -> None:
    assert too_long(ROOT) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("analysis/a.py", "import study"),
        ("analysis/a.py", "from study.record import Record"),
        ("analysis/a.py", "def f():\n    import torch"),
        ("analysis/a.py", "def f():\n    from ray import tune"),
        ("analysis/deep/a.py", "from cluster.connect import connect"),
        ("cluster/a.py", "import analysis.results"),
        ("cluster/a.py", "class C:\n    def f(self):\n        import search_spaces.space"),
        ("search_spaces/networks/a.py", "from study.distillation import losses"),
        ("search_spaces/a.py", "import importlib\nimportlib.import_module('study.plan')"),
        ("study/distillation/a.py", "import mlflow"),
        ("study/distillation/a.py", "from study import record"),
        ("study/distillation/a.py", "from .. import record"),
        ("study/distillation/methods/a.py", "from ...search_spaces import space"),
        ("study/distillation/a.py", "import pandas as pd"),
    ],
)
def test_a_broken_arrow_is_found(tmp_path: Path, file: str, source: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(source)
    (found,) = arrows_broken(tmp_path)
    assert found.startswith(file)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("study/runner.py", "import ray, torch\nfrom analysis.results import Outcome"),
        ("study/distillation/a.py", "import torch\nfrom study.distillation.methods import build"),
        ("study/distillation/methods/a.py", "from ..losses import response_loss"),
        ("study/distillation/methods/a.py", "from . import response\nimport math"),
        ("analysis/a.py", "import optuna, pandas\nfrom analysis.results import Outcome"),
        ("search_spaces/a.py", "from search_spaces.networks import resnet"),
    ],
)
def test_a_right_arrow_is_let_through(tmp_path: Path, file: str, source: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(source)
    assert arrows_broken(tmp_path) == []


@pytest.mark.parametrize(
    ("file", "source", "expected"),
    [
        ("study/launch.py", "import torch", True),
        ("study/plan.py", "try:\n    from ray import tune\nexcept ImportError:\n    pass", True),
        ("search_spaces/a.py", "class C:\n    import pandas", True),
        ("search_spaces/a.py", "def f():\n    import torch", False),
        ("study/__main__.py", "if TYPE_CHECKING:\n    import optuna", False),
        ("search_spaces/networks/a.py", "import torch", False),
        ("study/runner.py", "import torch", False),
    ],
)
def test_a_heavy_import_at_the_top_of_a_light_module_is_found(
    tmp_path: Path, file: str, source: str, expected: bool
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(source)
    assert bool(heavy_at_top(tmp_path)) is expected


def test_a_file_that_is_too_long_is_found(tmp_path: Path) -> None:
    path = tmp_path / "cluster" / "a.py"
    path.parent.mkdir()
    path.write_text("x = 1\n" * (LONGEST_FILE + 1))
    assert too_long(tmp_path) == ["cluster/a.py has 451 lines"]
