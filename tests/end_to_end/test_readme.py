"""What the READMEs show works as it stands there."""

import re
from pathlib import Path

import pytest
from launching import BRIEF, Launcher

from analysis.record import read_record
from search_spaces.catalogue import load_space
from study.__main__ import make_parser as verbs
from study.arguments import parser
from study.submission import check_paths

ROOT = Path(__file__).parents[2]
ROOMS = ("analysis", "cluster", "search_spaces", "study", "tests")
PAGES = [
    ROOT / "README.md",
    *(page for room in ROOMS for page in sorted((ROOT / room).rglob("README.md"))),
    ROOT / "search_spaces/MEASURED.md",
]
# What goes on in the next line is one command.
TEXT = re.sub(r"\\\n\s*", "", "\n".join(page.read_text() for page in PAGES))
SPACES = (ROOT / "search_spaces" / "README.md").read_text()


def commands(module: str) -> list[str]:
    lines = re.findall(rf"^python -m {module} (.+?)(?:\s+#.*)?$", TEXT, flags=re.MULTILINE)
    assert lines
    return lines


def handed_on() -> list[str]:
    """What benchmarks hand to a launch: behind `--` in their commands, in brackets in the text."""
    behind = [line.partition(" -- ")[2] for line in commands(r"tests\.benchmarks\.[\w.]+")]
    named = re.findall(r"\(`(--space [^`]+)`", TEXT)
    assert named
    return [line for line in (*behind, *(" ".join(each.split()) for each in named)) if line]


def test_pages_are_found_wherever_they_lie() -> None:
    deep = ("study/distillation", "tests/benchmarks", "tests/benchmarks/search", "tests/faults")
    assert {ROOT / place / "README.md" for place in deep} <= set(PAGES)


@pytest.mark.parametrize("line", [*commands(r"study\.launch"), *handed_on()])
def test_every_launch_in_a_readme_is_one_the_parser_takes(line: str) -> None:
    asked = parser().parse_args(line.split())
    if asked.submit:
        check_paths(asked)


@pytest.mark.parametrize("line", commands("study"))
def test_every_verb_in_a_readme_is_one_the_parser_takes(line: str) -> None:
    asked = verbs().parse_args(line.split())
    if getattr(asked, "submit", None):
        check_paths(asked)


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m (tests\.[\w.]+)", TEXT))))
def test_every_benchmark_in_a_readme_is_there(module: str) -> None:
    place = ROOT.joinpath(*module.split("."))
    assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()


def test_every_test_that_a_readme_names_is_there() -> None:
    named = set(re.findall(r"pytest (tests/[\w/]+\.py)", TEXT))
    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).is_file()] == []


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
        *BRIEF,
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
