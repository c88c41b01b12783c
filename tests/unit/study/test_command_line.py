"""What is mistyped on a command line is refused in one line, with the nearest there is."""

import pytest

from study.__main__ import main
from study.arguments import parser


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["statu", "x"], "VERB 'statu' is unknown; did you mean status? (see python -m study "),
        (["export", "x"], "missing: --trial (see python -m study export "),
        (
            ["export", "x", "--trail", "7"],
            "--trail is unknown; did you mean --trial? (see python -m study export ",
        ),
        (
            ["export", "x", "--trial", "7", "--format", "onx"],
            "--format 'onx' is unknown; did you mean onnx? (see python -m study export ",
        ),
        (["list", "--jsn"], "--jsn is unknown; did you mean --json? (see python -m study list "),
    ],
)
def test_a_verb_mistyped_is_named_with_the_nearest(
    capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)

    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"error: {line}")
    assert told.endswith(" --help)")
    assert left.value.code == 2


def test_a_launch_mistyped_is_named_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parser().parse_args(["--spce", "cifar_blocks"])

    (told,) = capsys.readouterr().err.splitlines()
    assert (
        told == "error: --spce is unknown; did you mean --space?; see python -m study.launch --help"
    )
    assert left.value.code == 2
