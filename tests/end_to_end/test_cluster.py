"""A cluster with a token: studies sent to its head, and a study over three nodes that loses two."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import find_free_port
from evidence import PATIENCE_SECONDS, Patient, assert_sound, wait_until
from launching import BRIEF, Launched, Launcher
from ray_nodes import (
    BRIEF_PATIENCE,
    LOOPBACK,
    TOKEN,
    cut_off,
    lose,
    node,
    wait_for_dashboard,
    wait_for_nodes,
)

from analysis.record import read_record
from study.distillation.checkpoint_writer import JUDGED_BY

pytestmark = pytest.mark.end_to_end
# Of three nodes two are lost in the midst of this epoch: what was trained before is all written.
MIDST = JUDGED_BY + 1
LONG = MIDST + 3
# A space of the user's own, which the cluster has never seen.
OWN_SPACE = """
from dataclasses import replace

from own_parts import WIDTH
from search_spaces.cifar_blocks import SPACE as BLOCKS

SPACE = replace(BLOCKS.with_fixed({"width": WIDTH, "stem_stride": 2}), name="own")
"""


@dataclass(frozen=True)
class Head:
    """The head of a cluster that asks for a token."""

    address: str
    url: str
    folder: Path
    environment: dict[str, str]

    def here(self) -> dict[str, str]:
        """What a user of the cluster has in the environment."""
        return {"RAY_AUTH_TOKEN": TOKEN, "RAY_AUTH_MODE": "token", **LOOPBACK}


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    folder = tmp_path_factory.mktemp("cluster")
    port, dashboard = find_free_port(), find_free_port()
    environment = {
        **Launcher().environment(),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        **BRIEF_PATIENCE,
        # Of the job's own `python`; where students write down the epochs they begin, and are held.
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "EPOCHS_BEGUN": str(folder / "shared" / "across.epochs"),
        "EPOCHS_HELD": str(folder / "shared" / "across.held"),
    }
    del environment["PYTHONPATH"]  # jobs bring the code along
    url = f"http://127.0.0.1:{dashboard}"
    with node(
        *("--head", "--port", str(port), "--include-dashboard", "true"),
        *("--dashboard-host", "127.0.0.1", "--dashboard-port", str(dashboard)),
        environment=environment,
    ):
        wait_for_dashboard(url)
        yield Head(f"127.0.0.1:{port}", url, folder, environment)


def there(head: Head, launcher: Launcher, *words: str, module: str = "study") -> Launched:
    """Run a command on the cluster, from a folder that it does not see."""
    here = head.folder / "here"
    here.mkdir(exist_ok=True)
    done = subprocess.run(
        [
            *(sys.executable, "-m", module, *words),
            *("--studies", str(head.folder / "there"), "--submit", head.url),
        ],
        cwd=here,
        env={**launcher.environment(), **head.here()},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return Launched(done.returncode, done.stdout, done.stderr, head.folder / "there")


def test_a_study_sent_to_a_cluster_is_followed_asked_after_and_stopped_from_here(
    head: Head, launcher: Launcher
) -> None:
    here = head.folder / "here"
    here.mkdir(exist_ok=True)
    (here / "own_space.py").write_text(OWN_SPACE)
    (here / "own_parts.py").write_text("WIDTH = 16\n")
    follower = subprocess.Popen(
        [
            *(sys.executable, "-m", "study.launch", *BRIEF),
            *("--space", "own_space.py", "--data", "digits"),
            *("--views", "2", "--teacher-epochs", "1", "--max-epochs", "40", "--trials", "50"),
            *("--name", "sent", "--tracking-uri", "none", "--scheduler", "none"),
            *("--studies", str(head.folder / "there"), "--submit", head.url),
        ],
        cwd=here,
        env={**launcher.environment(), **head.here()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_epochs(head.folder / "there" / "sent", follower)
    status = there(head, launcher, "status", "sent", "--json")
    assert status.returncode == 0, status.stderr
    assert status.result["study"] == "sent"
    assert status.result["state"] == "running"
    stop = there(head, launcher, "stop", "sent")
    assert stop.returncode == 0, stop.stderr
    assert "sent has stopped" in stop.stdout
    told, errors = follower.communicate(timeout=PATIENCE_SECONDS)
    assert follower.returncode in (130, 143), errors
    assert "teacher ResNet-26" in told
    assert "Running entrypoint" not in told
    record = read_record(head.folder / "there" / "sent")
    assert record.plan.plan["address"] == "auto"
    assert {trial.params["width"] for trial in record.trials} == {16}


def wait_for_epochs(folder: Path, process: "subprocess.Popen[str]") -> None:
    journal = folder / "journal.log"

    def has_two() -> bool:
        return journal.exists() and '"epoch:0002"' in journal.read_text()

    wait_until(has_two, "two epochs", process)


def test_what_the_cluster_refuses_is_refused_here(head: Head, launcher: Launcher) -> None:
    run = there(head, launcher, "status", "nowhere")
    assert run.returncode == 2
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert "no study 'nowhere'" in line


@pytest.mark.parametrize(
    ("asked", "token", "words"),
    [
        ("--submit", "wrong-wrong-wrong-wrong-wrong-wrong", "token is wrong"),
        ("--submit", "", "token is missing"),
        ("--address", "wrong-wrong-wrong-wrong-wrong-wrong", "token is missing or wrong"),
    ],
)
def test_a_wrong_token_is_one_clear_line(
    head: Head, launcher: Launcher, tmp_path: Path, asked: str, token: str, words: str
) -> None:
    studies = tmp_path / "studies"
    where = head.url if asked == "--submit" else head.address
    environment = {**head.here(), "RAY_AUTH_TOKEN": token, "HOME": str(tmp_path)}
    begun = time.monotonic()
    run = launcher.run(
        *("--space", "cifar_blocks", "--data", "digits", "--quiet", asked, where),
        studies=studies,
        **environment,
    )
    assert run.returncode == 2
    (line,) = run.stderr.splitlines()
    assert words in line
    assert "RAY_AUTH_TOKEN" in line
    assert not studies.exists()
    assert time.monotonic() - begun < 60


def test_a_studies_folder_that_a_node_has_not_is_refused_before_anything_is_trained(
    head: Head, launcher: Launcher, tmp_path: Path
) -> None:
    # A path that each process has for itself, as each machine has its own disk.
    run = launcher.run(
        *("--space", "cifar_blocks", "--data", "digits", "--name", "alone", "--quiet"),
        *("--address", head.address, "--studies", "/proc/self/cwd/alone"),
        studies=tmp_path / "studies",
        **head.here(),
    )
    assert run.returncode == 2, run.stderr
    (line,) = run.stderr.splitlines()
    assert "does not have the folder /proc/self/cwd/alone/alone" in line
    assert "name a folder that all nodes share" in line
    left = [path.name for path in (tmp_path / "alone").rglob("*") if path.is_file()]
    assert not set(left) & {"plan.json", "journal.log"}


def test_a_study_over_three_nodes_ends_complete_though_one_is_cut_off_and_one_killed(
    head: Head, launcher: Launcher, tmp_path: Path
) -> None:
    study = Patient("across", head.folder / "shared" / "studies", launcher, head.here())
    study.studies.parent.mkdir()
    environment = {**head.environment, **launcher.environment(), **head.here()}
    study.hold(MIDST)
    with ExitStack() as nodes:
        others = []
        # One after another: two that start at once on one machine look for the same free ports.
        for number in (2, 3):
            joining = node("--address", head.address, environment=environment)
            others.append(nodes.enter_context(joining))
            wait_for_nodes(head.url, number)
        driver = study.start(
            *("--json", "--address", head.address, "--concurrent", "3"),
            *("--max-epochs", str(LONG)),
        )
        for trial in range(3):
            study.wait_for_epoch(trial, MIDST - 1)
        # All three are in the midst of it: none is lost between two epochs.
        study.wait_for_epochs_begun(3 * MIDST)
        cut_off(others[0])
        lose(others[1])
        study.release()
        out, errors = driver.communicate(timeout=PATIENCE_SECONDS)

    assert driver.returncode == 0, errors
    assert json.loads(out)["counts"]["complete"] == 3
    assert_sound(study)
    trials = study.record().trials
    assert [[epoch.epoch for epoch in trial.curve] for trial in trials] == [
        [*range(1, LONG + 1)]
    ] * 3
    assert sorted(trial.usage.retries for trial in trials) == [0, 1, 1]
    # Of each of the two that were lost the epoch that was under way.
    assert study.epochs_begun() - 3 * LONG == 2
