"""What README shows works as it stands there."""

import re
from pathlib import Path

import pytest
from launching import Launcher

from search_spaces.catalogue import load_space
from study.__main__ import make_parser as verbs
from study.arguments import parser

README = (Path(__file__).parents[2] / "README.md").read_text()


def commands(module: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", "", README)
    lines = re.findall(rf"^python -m {module} (.+?)(?:\s+#.*)?$", joined, flags=re.MULTILINE)
    assert lines
    return lines


@pytest.mark.parametrize("line", commands(r"study\.launch"))
def test_every_launch_in_readme_is_one_the_parser_takes(line: str) -> None:
    parser().parse_args(line.split())


@pytest.mark.parametrize("line", commands("study"))
def test_every_verb_in_readme_is_one_the_parser_takes(line: str) -> None:
    verbs().parse_args(line.split())


@pytest.mark.end_to_end
def test_the_space_in_readme_runs_to_a_front(studies: Path, launcher: Launcher) -> None:
    (block,) = re.findall(r"```python\n(# my_space\.py\n.*?)```", README, flags=re.DOTALL)
    space = studies.parent / "my_space.py"
    space.write_text(block)
    assert load_space(str(space)).name == "plain"

    run = launcher.run(
        *("--space", "my_space.py", "--data", "digits", "--trials", "3", "--max-epochs", "1"),
        *("--teacher-epochs", "1", "--views", "1", "--tracking-uri", "none", "--json"),
        studies=studies,
    )

    assert run.returncode == 0, run.stderr
    assert run.result["counts"]["complete"] >= 2
    assert "x" in run.result["front"][0]["architecture"]
