"""Sample records for the tests of analysis/."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from analysis.record import read_record


@pytest.fixture(scope="session")
def sample():
    """The functions of sample_record.py; loaded by path, as test folders are not packages."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("sample_record.py"))))


@pytest.fixture(scope="session")
def realistic_folder(sample, tmp_path_factory):
    """A study of 48 trials of every fate; not to be changed."""
    return sample.realistic(tmp_path_factory.mktemp("records") / "pareto-demo")


@pytest.fixture(scope="session")
def realistic(realistic_folder):
    """The same, as read."""
    return read_record(realistic_folder)


@pytest.fixture(scope="session")
def replicated_folder(sample, tmp_path_factory):
    """The same study with replicates; not to be changed."""
    return sample.replicated(tmp_path_factory.mktemp("records") / "pareto-demo")


@pytest.fixture(scope="session")
def replicated(replicated_folder):
    """The same, as read."""
    return read_record(replicated_folder)


@pytest.fixture
def study(sample, tmp_path):
    """Writes a record of some trials and reads it back."""

    def write(trials=(), **options):
        return read_record(sample.write_record(tmp_path / "study", trials, **options))

    return write
