"""What is mistyped on a command line is refused in one line, with the nearest there is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from study.__main__ import main
from study.arguments import parser


@pytest.mark.parametrize(
    ("arguments", "told", "verb"),
    [
        (["statu", "x"], "VERB 'statu' is unknown; did you mean status?", ""),
        (["export", "x"], "missing: --trial", " export"),
        (["export", "x", "--trail", "7"], "--trail is unknown; did you mean --trial?", " export"),
        (
            ["export", "x", "--trial", "7", "--format", "onx"],
            "--format 'onx' is unknown; did you mean onnx?",
            " export",
        ),
        (["list", "--jsn"], "--jsn is unknown; did you mean --json?", " list"),
    ],
)
def test_a_verb_mistyped_is_named_with_the_nearest(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str, verb: str
) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)

    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: {told} (see python -m study{verb} --help)"
    assert left.value.code == 2


@pytest.mark.parametrize(
    "arguments", [("spaces",), ("spaces", "cifar_blocks"), ("list", "--studies", "none")]
)
def test_a_verb_whose_words_nobody_reads_ends_quietly(arguments: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        run = subprocess.run(
            [sys.executable, "-m", "study", *arguments],
            cwd=Path(__file__).parents[3],
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    finally:
        os.close(writer)
    assert (run.returncode, run.stderr) == (1, b"")


@pytest.mark.parametrize("verb", ["export", "stop", "list", "status", "report", "resume"])
def test_a_verb_that_is_interrupted_says_so_in_one_line(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("study.listing.find_study", interrupted)
    monkeypatch.setattr("study.listing.study_states", interrupted)
    arguments = {"list": ["list"], "export": ["export", "x", "--trial", "7", "--format", "pt2"]}

    assert main(arguments.get(verb, [verb, "x"])) == 130

    shown = capsys.readouterr()
    assert shown.err == f"{verb} was interrupted; give the same command again\n"
    assert shown.out == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--spce", "cifar_blocks"], "--spce is unknown; did you mean --space?"),
        (["--early-stopping"], "--early-stopping is unknown"),
        (["--trials", "few"], "--trials 'few' is not a whole number, such as 4"),
        (["--min-accuracy", "high"], "--min-accuracy 'high' is not a number, such as 0.5"),
        (["--trials"], "--trials is given without its value"),
        (["--trials", "--quiet"], "--trials is given without its value"),
        (
            ["--max-latency", "-1ms"],
            "--max-latency '-1ms' is taken for an option; write --max-latency=-1ms if it is meant",
        ),
        (["width=16"], "'width=16' belongs to no option; did you mean --fix width=16?"),
        (["more"], "'more' belongs to no option; leave it out"),
    ],
)
def test_a_launch_mistyped_is_told_with_the_mend(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    with pytest.raises(SystemExit) as left:
        parser().parse_args(["--space", "cifar_blocks", *arguments])

    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: {told} (see python -m study.launch --help)"
    assert left.value.code == 2
