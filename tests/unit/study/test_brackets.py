"""Names with brackets, which rich would take for markup, are shown as they stand."""

import io
import json
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.table import Table

from search_spaces import catalogue
from search_spaces.cifar_blocks import SPACE
from study.__main__ import main
from study.closing import print_summary
from study.console import make_console
from study.ending import Ending
from study.listing import status_of
from study.progress import LiveProgress
from study.status_view import _redrawn, print_status
from study.summary import summarise

SAMPLE = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).parents[1] / "analysis" / "sample_record.py"))
)
NAMES = ("Dense [relu] nets", "nets of [/gelu]", "[bold]nets[/bold]")


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path, name: str) -> Path:
    def trial(*blocks: int, **options: object) -> dict[str, dict[str, object]]:
        made: dict[str, dict[str, object]] = SAMPLE.trial(SAMPLE.params(blocks), **options)
        made["attributes"]["architecture"] = name
        return made

    trials = [
        trial(1, 1, 1, 1, accuracy=70.0, ratio=3.0),
        trial(2, 0, 0, 0, accuracy=60.0, ratio=4.0, status="failed", reason=f"no {name}"),
        trial(1, 0, 0, 0, accuracy=60.0, ratio=4.0, status=None, done=2),
        trial(0, 1, 0, 0, accuracy=60.0, ratio=4.0, status=None, done=3),
    ]
    trials[3]["attributes"]["waits"] = 3
    plan = SAMPLE.plan("mine", trials=4)
    plan["space"]["objectives"][0]["label"] = name
    teacher = {**SAMPLE.teacher(), "name": name}
    written: Path = SAMPLE.write_record(
        tmp_path / "mine", trials, plan_content=plan, teacher_content=teacher
    )
    return written


def test_a_space_is_shown_with_its_title_and_description(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    presets, published = ({name: each["paper"]} for each in (SPACE.presets, SPACE.published))
    space = replace(
        SPACE, title=name, description=f"Of {name}.", presets=presets, published=published
    )
    monkeypatch.setattr(catalogue, "load_space", lambda _: space)
    assert main(["spaces", "mine"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"cifar_blocks: {name}", f"Of {name}."]
    assert f"Preset {name}" in lines


def test_a_status_shows_every_table(folder: Path, name: str) -> None:
    stream, status = io.StringIO(), status_of(summarise(folder))
    print_status(status, make_console(stream))
    printed = stream.getvalue()
    for title in ("interrupted", "waiting at a rung", "front, by"):
        _, _, below = printed.partition(title)
        assert name in below.split("\n\n")[0]
    assert f"failed, no {name}" in printed
    redrawn = io.StringIO()
    make_console(redrawn).print(_redrawn(status, 60))
    assert redrawn.getvalue().count(name) >= 4


def test_the_end_of_a_study_names_teacher_and_note(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_summary(summarise(folder), Ending("complete", 0, f"of {name} none"))
    printed = capsys.readouterr().out
    assert f"of {name} none" in printed
    assert f"teacher {name}:" in printed


def test_a_phase_is_drawn_by_its_title(name: str) -> None:
    progress = LiveProgress(io.StringIO())
    progress.console = make_console(io.StringIO())
    with progress.phase(f"preparing {name}") as phase:
        phase.note = name
        progress.console.print(progress._phase_bar())
    assert f"preparing {name}" in progress.console.file.getvalue()  # type: ignore[attr-defined]


def test_a_table_is_shown_as_it_stands(name: str) -> None:
    stream, table = io.StringIO(), Table(title=name)
    table.add_column(name)
    table.add_row(name)
    make_console(stream).print(table)
    assert stream.getvalue().count(name) == 3


def test_a_folder_of_any_name_is_listed(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / name.replace("/", "")
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps(name))
    assert main(["list", "--studies", str(tmp_path)]) == 0
    assert folder.name in capsys.readouterr().out
