"""A studies folder that all faults share, and the study nothing happens to."""

import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from launching import Launcher

from analysis.results import TrialResult

pytest.register_assert_rewrite("evidence")
from evidence import EPOCHS, TRIALS, Patient  # noqa: E402


@pytest.fixture(scope="session")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder: the first study trains a teacher, which all have, as one MLflow."""
    studies = tmp_path_factory.mktemp("faults") / "studies"
    studies.mkdir()
    return studies


@pytest.fixture
def patient(
    ward: Path, launcher: Launcher, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Patient]]:
    """Makes a study named after the test; it is removed when the test has passed."""
    # A name has 64 characters at most: the checksum tells apart what its beginning does not.
    test = request.node.name
    words = "".join(c if c.isalnum() else "-" for c in test[5:40]).strip("-")
    name = f"{words}-{zlib.crc32(test.encode()):08x}"

    made: list[Patient] = []

    def make(studies: Path = ward, **environment: str) -> Patient:
        made.append(Patient(name, studies, launcher, environment))
        return made[-1]

    failed = request.session.testsfailed
    yield make
    for each in made:
        each.end()
    if request.session.testsfailed == failed:
        shutil.rmtree(ward / name, ignore_errors=True)


@pytest.fixture(scope="session")
def whole(ward: Path, launcher: Launcher) -> tuple[TrialResult, ...]:
    """The trials of the study that nothing happens to."""
    undisturbed = Patient("whole", ward, launcher)
    run = undisturbed.launch("--json")
    assert run.returncode == 0, run.stderr
    assert undisturbed.epochs_begun() == EPOCHS * TRIALS
    assert undisturbed.epochs_lost() == 0
    return undisturbed.record().trials
