"""What the READMEs show works as it stands there."""

import re
from pathlib import Path

import pytest
from launching import Launcher

from analysis.record import read_record
from search_spaces.catalogue import load_space
from study.__main__ import make_parser as verbs
from study.arguments import parser
from study.submission import check_paths

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("*/README.md")), ROOT / "search_spaces/MEASURED.md"]
SPACES = (ROOT / "search_spaces" / "README.md").read_text()


def commands(module: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", "", "\n".join(page.read_text() for page in PAGES))
    lines = re.findall(rf"^python -m {module} (.+?)(?:\s+#.*)?$", joined, flags=re.MULTILINE)
    assert lines
    return lines


@pytest.mark.parametrize("line", commands(r"study\.launch"))
def test_every_launch_in_a_readme_is_one_the_parser_takes(line: str) -> None:
    asked = parser().parse_args(line.split())
    if asked.submit:
        check_paths(asked)


@pytest.mark.parametrize("line", commands("study"))
def test_every_verb_in_a_readme_is_one_the_parser_takes(line: str) -> None:
    asked = verbs().parse_args(line.split())
    if getattr(asked, "submit", None):
        check_paths(asked)


@pytest.mark.end_to_end
def test_the_space_and_the_method_in_readme_run_to_a_front(
    tmp_path: Path, launcher: Launcher
) -> None:
    studies = tmp_path / "studies"
    (block,) = re.findall(r"```python\n(# my_space\.py\n.*?)```", SPACES, flags=re.DOTALL)
    space = tmp_path / "my_space.py"
    space.write_text(block)
    assert load_space(str(space)).name == "plain"
    asked = (
        *("--space", "my_space.py", "--data", "digits", "--max-epochs", "1"),
        *("--teacher-epochs", "1", "--views", "1", "--tracking-uri", "none", "--json"),
    )

    run = launcher.run(*asked, "--trials", "3", studies=studies)

    assert run.returncode == 0, run.stderr
    assert run.result["counts"]["complete"] >= 2
    assert "x" in run.result["front"][0]["architecture"]
    first, second = read_record(studies / "plain-digits").trials[:2]
    assert (first.params["method"], second.params["method"]) == ("similarity", "none")
    assert first.curve[0].train_loss > second.curve[0].train_loss  # by the similarities

    more = launcher.run(
        *("resume", "plain-digits", "--trials", "4", "--json"), studies=studies, module="study"
    )
    assert more.returncode == 0, more.stderr
    assert len(read_record(studies / "plain-digits").trials) == 4

    space.write_text(block.replace("len(student) ** 2", "len(student)"))
    other = launcher.run(*asked, "--trials", "5", studies=studies)
    assert other.returncode == 2
    (line,) = (line for line in other.stderr.splitlines() if line.startswith("error: "))
    assert "the space's parameters, or its own methods, have changed" in line
