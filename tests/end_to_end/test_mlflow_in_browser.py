"""MLflow's own pages, opened in a browser, show a tracked study as a reader expects to find it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from search_spaces.networks import dense
from study.distillation.export import Shipped, write
from study.tracking.inputs import DataInput
from study.tracking.models import StudentModel
from study.tracking.points import CURVES
from study.tracking.tracker import Tracker, default_tracking_uri, open_tracker, run_page

if TYPE_CHECKING:
    from conftest import MlflowServer
    from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Response

pytestmark = [pytest.mark.browser, pytest.mark.end_to_end]

WAIT_MS = 150_000
DATA = DataInput("digits", "c085d9adf5747afa", "scikit-learn digits", {"train": 1222})
TRIALS = (
    # name, blocks, temperature, outcome, final accuracy
    ("t0000 Experiment 1", "[1,1,1,1]", 1.0, "complete", 94.7),
    ("t0001 Experiment 2", "[2,1,1,1]", 1.0, "complete", 95.9),
    ("t0002 control of t0000", "[1,1,1,1]", None, "complete", 93.1),
    ("t0003 [0,1,1,1] stride 1 T=4", "[0,1,1,1]", 4.0, "stopped", 88.2),
    ("t0004 [2,2,2,2] stride 2 T=8", "[2,2,2,2]", 8.0, "infeasible", None),
)


# A server without accounts answers this question of its own pages with 404.
KNOWN_FAILURES = {(404, "/ajax-api/2.0/mlflow/users/current")}

# MLflow's charts are laid out anew while a busy browser tells them of their size: by the standard
# it says so as an error of the page, and tells them in the next frame.
DEFERRED = "ResizeObserver loop completed with undelivered notifications."


@dataclass
class TrackedStudy:
    """Where the pages of a study are, by kind and trial number."""

    server: str
    experiment_id: str
    runs: dict[tuple[str, int | None], str]

    def run(self, kind: str, number: int | None = None, tab: str = "") -> str:
        page = run_page(self.server, self.experiment_id, self.runs[kind, number])
        return page.replace("?", f"/{tab}?") if tab else page


def epoch_result(epoch: int, epochs: int, accuracy: float) -> dict[str, Any]:
    share = epoch / epochs
    return {
        "epoch": epoch,
        "train_loss": 2.3 * (1 - share) + 0.1,
        "val_loss": 2.3 * (1 - share) + 0.2,
        "val_score": 10 + (accuracy - 10) * share**0.3,
        "learning_rate": 0.1 * (1 - share),
        "seconds": 1.4,
    }


def student(folder: Path) -> StudentModel:
    """A small student as a pt2 file, as the end of a study has it."""
    shape = (8, 8, 1)
    shipped = Shipped(dense.build(shape, (4,), 10), (0.3,), (0.3,), takes="uint8", classes=10)
    write(shipped, shape, folder / "t0001.pt2", "pt2", {})
    return StudentModel(
        name="quickstart t0001 [2,1,1,1]",
        program=folder / "t0001.pt2",
        shape=shape,
        takes="uint8",
        output=10,
        params={"blocks": "[2,1,1,1]"},
        tags={"study": "quickstart", "trial": "t0001"},
        description="A student of **quickstart**.",
        data=DATA,
    )


def track(tracker: Tracker, report: Path) -> None:
    tracker.study_started(
        "quickstart",
        "cifar_blocks",
        "Students of the space **cifar_blocks** on `digits`, taught by ResNet-50 [3,4,6,3].",
        {"space": "cifar_blocks", "data": "digits", "trials": 14, "max_epochs": 8},
        {"data": "digits"},
        study_key="quickstart@2026-01-01T00:00:00Z",
        data=DATA,
    )
    tracker.teacher_trained(
        "0a1b2c3d4e5f6071",
        "ResNet-50 [3,4,6,3]",
        {"epochs": 8, "depths": "[3,4,6,3]"},
        [epoch_result(epoch, 8, 98.9) for epoch in range(1, 9)],
        {"val_score": 98.9, "params_m": 23.5, "latency_ms": 12.3},
    )
    for number, (name, blocks, temperature, outcome, accuracy) in enumerate(TRIALS):
        params = {"blocks": blocks, "stem": "imagenet", "temperature": temperature}
        tracker.trial_started(number, name, params, {"source": "preset"})
        epochs = range(1, 9) if outcome == "complete" else range(1, 4)
        for epoch in epochs if accuracy is not None else ():
            tracker.epoch(number, epoch_result(epoch, len(epochs), accuracy or 0.0))
        reason = {"stopped": "rung 1", "infeasible": "params_m 11.2 > 5.0"}.get(outcome)
        finals = {"val_score": accuracy, "latency_ms": 1.0 + number / 10, "params_m": 4.9}
        tracker.trial_finished(number, outcome, reason, finals)
        tracker.study_progress(number + 1, {"hypervolume": 0.5 + number / 20})
    tracker.trial_on_front(1, True, student(report.parent))
    tracker.study_finished("complete", {"hypervolume": 0.7, "front_size": 3}, [report])


@pytest.fixture(scope="module")
def study(
    tmp_path_factory: pytest.TempPathFactory,
    mlflow_server: "Callable[[Path], MlflowServer]",
) -> TrackedStudy:
    """A study told to a database among the studies, and MLflow's pages of that database."""
    studies = tmp_path_factory.mktemp("studies")
    runs: dict[tuple[str, int | None], str] = {}
    tracker = open_tracker(
        default_tracking_uri(studies),
        studies,
        pytest.fail,
        lambda kind, number, run_id: runs.update({(kind, number): run_id}),
    )
    report = studies / "index.html"
    report.write_text("<h1>The front of quickstart</h1>")
    track(tracker, report)
    assert tracker.close(timeout=300).undelivered == 0
    assert tracker.experiment_id is not None
    return TrackedStudy(mlflow_server(studies).uri, tracker.experiment_id, runs)


@pytest.fixture
def page(chromium: "Browser", tmp_path: Path) -> "Iterator[Page]":
    """A fresh page; at its end a screenshot is taken, and nothing may have gone wrong on it."""
    page = chromium.new_page(viewport={"width": 1600, "height": 1200})
    page.set_default_timeout(WAIT_MS)
    troubles: list[str] = []

    def on_response(response: "Response") -> None:
        place = (response.status, urlsplit(response.url).path)
        if response.status >= 400 and place not in KNOWN_FAILURES:
            troubles.append(f"{response.status} {response.url}")

    def on_console(message: "ConsoleMessage") -> None:
        path = urlsplit(message.location.get("url", "")).path
        if message.type == "error" and path not in {known for _, known in KNOWN_FAILURES}:
            troubles.append(message.text)

    def on_error(error: "Error") -> None:
        if DEFERRED not in str(error):
            troubles.append(str(error))

    page.on("response", on_response)
    page.on("console", on_console)
    page.on("pageerror", on_error)
    yield page
    page.screenshot(path=tmp_path / "page.png")
    page.close()
    assert troubles == []


def test_the_list_of_experiments_names_the_space(page: "Page", study: TrackedStudy) -> None:
    page.goto(f"{study.server}/#/experiments?workflowType=machine_learning")
    page.get_by_role("link", name="cifar_blocks").wait_for()
    page.get_by_text("Students of the sear").wait_for()


def test_the_experiment_holds_the_study_with_its_trials_and_the_teacher_beside_it(
    page: "Page", study: TrackedStudy
) -> None:
    address = f"{study.server}/#/experiments/{study.experiment_id}/runs"
    page.goto(f"{address}?workflowType=machine_learning")
    page.get_by_role("link", name="quickstart").wait_for()
    page.get_by_role("link", name="teacher ResNet-50 [3,4,6,3]").wait_for()
    assert page.get_by_text("t0000 Experiment 1").count() == 0
    study_cell = page.get_by_role("gridcell").filter(
        has=page.get_by_role("link", name="quickstart")
    )
    study_cell.get_by_role("button").click()
    for name, *_ in TRIALS:
        page.get_by_role("link", name=name).wait_for()


def test_the_study_run_tells_what_it_is_and_names_its_trials(
    page: "Page", study: TrackedStudy
) -> None:
    page.goto(study.run("study"))
    page.get_by_role("heading", name="quickstart").wait_for()
    page.get_by_text("taught by ResNet-50 [3,4,6,3]").wait_for()
    for name, *_ in TRIALS:
        page.get_by_role("link", name=name).wait_for()
    page.get_by_role("link", name="final/hypervolume").scroll_into_view_if_needed()
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="final/hypervolume"))
    assert "0.7" in row.inner_text()


def test_the_curve_of_the_study_is_drawn(page: "Page", study: TrackedStudy) -> None:
    page.goto(study.run("study", tab="model-metrics"))
    charts = page.get_by_role("heading", name="hypervolume", exact=True)
    charts.nth(1).wait_for()
    assert charts.count() == 2  # the last value, and its curve over the trials
    page.locator(".scatterlayer .trace").first.wait_for(state="attached")


def test_a_trial_run_shows_its_final_values_beside_its_parameters(
    page: "Page", study: TrackedStudy
) -> None:
    page.goto(study.run("trial", 1))
    page.get_by_role("heading", name="t0001 Experiment 2").wait_for()
    page.get_by_role("link", name="quickstart", exact=True).wait_for()
    final = page.get_by_role("row").filter(
        has=page.get_by_role("link", name="final/val_score", exact=True)
    )
    final.scroll_into_view_if_needed()
    assert "95.9" in final.inner_text()
    temperature = page.get_by_role("row").filter(has_text="temperature")
    temperature.scroll_into_view_if_needed()
    assert "1.0" in temperature.inner_text()


def test_a_trial_has_a_chart_for_every_curve(page: "Page", study: TrackedStudy) -> None:
    page.goto(study.run("trial", 1, tab="model-metrics"))
    for name in CURVES.values():
        page.get_by_role("heading", name=name, exact=True).last.wait_for()
    assert page.get_by_role("heading", name="latency_ms", exact=True).count() == 1
    page.locator(".scatterlayer .trace").first.wait_for(state="attached")


def test_a_stopped_trial_says_so(page: "Page", study: TrackedStudy) -> None:
    page.goto(study.run("trial", 3))
    page.get_by_text("stopped: rung 1").wait_for()
    page.get_by_text("outcome: stopped").wait_for()


def test_the_report_opens_among_the_files_of_the_study(page: "Page", study: TrackedStudy) -> None:
    page.goto(study.run("study", tab="artifacts/report/index.html"))
    page.frame_locator("iframe").get_by_text("The front of quickstart").wait_for()


def test_the_view_of_fronts_lists_their_trials_alone_with_their_figures(
    page: "Page", study: TrackedStudy
) -> None:
    address = f"{study.server}/#/experiments/{study.experiment_id}/runs"
    page.goto(f"{address}?viewStateShareKey=front&workflowType=machine_learning")
    page.get_by_role("link", name="t0001 Experiment 2").wait_for()
    for name, *_ in TRIALS:
        assert page.get_by_role("link", name=name).count() == (name == "t0001 Experiment 2")
    page.get_by_role("gridcell", name="95.9").wait_for()


def test_a_student_of_the_front_has_a_page_with_its_figures_and_its_run(
    page: "Page", study: TrackedStudy
) -> None:
    address = f"{study.server}/#/experiments/{study.experiment_id}/models"
    page.goto(f"{address}?workflowType=machine_learning")
    page.get_by_role("link", name="quickstart t0001 [2,1,1,1]").click()
    page.get_by_role("heading", name="quickstart t0001 [2,1,1,1]").wait_for()
    page.get_by_role("link", name="t0001 Experiment 2").first.wait_for()
    page.get_by_text("A student of quickstart.").wait_for()
    page.get_by_role("cell", name="95.9").wait_for()
