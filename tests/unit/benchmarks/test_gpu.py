"""The pieces of the benchmark on a GPU, on a CPU; `--device cpu --quick` runs all, in small."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces.networks import dense
from study.distillation.data import load
from study.distillation.image_data import ImageData
from study.distillation.teacher import TeacherRecipe
from study.distillation.training import CachedTeacher, TrainingSettings
from study.distillation.views import distinct_views
from tests.benchmarks import gpu, gpu_arms, gpu_limits

CPU = torch.device("cpu")
SETTINGS = TrainingSettings(
    epochs=1, batch_size=64, learning_rate=0.02, schedule="onecycle", views=1, view_seed=0
)


@pytest.fixture(scope="module")
def digits() -> ImageData:
    """A few of them, at 8 pixels."""
    data = load("digits", None, cache_dir=None, image_size=8)
    return replace(
        data,
        train=data.train.take(np.arange(320)),
        validation=data.validation.take(np.arange(64)),
    )


def network() -> nn.Module:
    torch.manual_seed(0)
    return dense.build((8, 8, 3), (16,), 10)


def test_what_is_kept_goes_on_and_another_size_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gpu.json"
    command = ["--device", "cpu", "--quick", "--stage", "peak", "--keep", str(file)]
    assert gpu.main(command) == 0
    first = json.loads(file.read_text())
    assert first["peak"]["done"] is True
    assert first["peak"]["tflops"] > 0
    assert gpu.main(command) == 0
    assert json.loads(file.read_text()) == first  # not measured again
    assert "peak of a product of matrices" in capsys.readouterr().out
    with pytest.raises(
        SystemExit, match=r"gpu.json was begun with torch .*, now 1.0: name another"
    ):
        gpu.kept(file, {**first["about"], "torch": "1.0"})


def small_bench(
    file: Path, digits: ImageData, monkeypatch: pytest.MonkeyPatch, *given: str
) -> gpu.Bench:
    """All of it as `--quick`, under a teacher of one hidden layer and with few images."""
    teacher = TeacherRecipe(network="dense", hidden=(16,), epochs=2, batch_size=64)
    monkeypatch.setattr(gpu, "QUICK", replace(gpu.QUICK, image_size=8, teacher=teacher, steps=4))
    command = ["--device", "cpu", "--quick", "--keep", str(file), *given]
    args = gpu.arguments().parse_args(command)
    bench = gpu.Bench(args, file.parent / "work")
    bench.data = digits
    return bench


def test_every_stage_ends_and_goes_on_where_time_ran_out(
    digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = ("peak", "teacher", "outputs", "rows", "latency", "steps", "fused")
    file = tmp_path / "gpu.json"
    first = small_bench(file, digits, monkeypatch)
    looked = 0

    def after_some(bench: gpu.Bench) -> None:
        nonlocal looked
        looked += 1
        if "rows" in bench.found and len(bench.found["rows"]["rows"]) == 2:
            raise gpu.OutOfTime

    with monkeypatch.context() as patched:
        patched.setattr(gpu.Bench, "check_time", after_some)
        with pytest.raises(gpu.OutOfTime):
            first.run(stages)
    assert looked > 5
    assert (tmp_path / "work" / "row.pt").exists()

    second = small_bench(file, digits, monkeypatch)
    assert second.found == first.found
    monkeypatch.setattr(second, "_teacher", None)  # is not called again
    second.run(stages)
    rows = second.found["rows"]["rows"]
    assert [row["label"] for row in rows][:2] == ["Baseline", "[1,1,1,1]"]
    assert len(rows) == 9
    assert rows[:2] == first.found["rows"]["rows"]
    assert all(row["seconds"] > row["limit_s"] > 0 for row in rows)
    assert second.found["outputs"]["views"] == distinct_views(digits.augmentation)
    assert len(second.found["steps"]["students"]) == 6  # of different networks
    assert second.found["steps"]["students"][0]["student"] in second.found["latency"]["students"]
    assert len(second.found["latency"]["students"]) == 6
    assert all(stage["done"] for name, stage in second.found.items() if name != "about")
    assert "trials/h" in gpu.report(second.found)
    assert "latency of" in gpu.report(second.found)


def test_fewer_epochs_and_views_are_what_is_trained_and_answered(
    digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["--teacher-epochs", "1", "--epochs", "3", "--views", "2"]
    bench = small_bench(tmp_path / "gpu.json", digits, monkeypatch, *given)
    bench.run(("peak", "teacher", "outputs"))
    assert bench.found["about"]["size"]["epochs"] == 3
    assert bench.found["teacher"]["epochs"] == 1
    assert bench.found["outputs"]["views"] == 2
    assert bench.table(bench.teacher().model).views == 2
    assert bench.settings(bench.size.epochs).views == 2


def test_the_limit_is_looked_at_before_each_stage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gpu.json"
    command = ["--device", "cpu", "--quick", "--keep", str(file), "--limit", "0.000001"]
    assert gpu.main(command) == 0
    assert not file.exists()
    assert "Stopped at --limit; give the same command again" in capsys.readouterr().out


def test_without_a_gpu_the_way_to_run_it_in_small_is_named() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit, match="give --device cpu --quick"):
        gpu.main([])
    with pytest.raises(SystemExit, match="name a file that is there"):
        gpu.main(["--report"])


def test_a_tenth_of_the_images_counts_those_that_were_held_out(digits: ImageData) -> None:
    share = gpu_limits.share_of(digits, 0.1)
    both = np.bincount(np.concatenate([digits.train.labels, digits.validation.labels]))
    assert set(np.bincount(share.train.labels)) == {round(0.1 * both.min())}
    assert share.rows is not None
    assert np.array_equal(digits.train.images[share.rows], share.train.images)
    assert gpu_limits.share_of(digits, 1.0).rows is None


def test_steps_are_timed_one_by_one_on_a_cpu(digits: ImageData) -> None:
    times = gpu_limits.step_times(network, digits, SETTINGS, CPU, 4, compiled=False)
    assert list(times) == ["eager_ms"]
    assert 0 < times["eager_ms"] < 10_000


def test_runs_trained_as_one_are_compared_with_one_after_another(digits: ImageData) -> None:
    own = [replace(SETTINGS, seed=seed) for seed in range(2)]
    assert 0.05 < gpu_limits.fused_speedup([network(), network()], digits, own, CPU) < 20


def test_every_arm_trains_the_same_student_alike(digits: ImageData) -> None:
    settings = replace(SETTINGS, epochs=3)
    teacher = network()
    with torch.no_grad():
        next(teacher.parameters()).zero_()
    found = []
    for tuned in (False, True):
        loaded = gpu_arms.Loaded.of(digits, 64, 0, tuned=tuned)
        epochs = gpu_arms.by_loader(network(), teacher, loaded, settings, CPU, tuned=tuned)
        found.append(gpu_arms.seconds_and_accuracy(epochs))
    answers = np.zeros((1, len(digits.train), 10), dtype=np.float16)
    source = CachedTeacher(answers)
    ours = gpu_arms.by_table(network(), source, digits, settings, CPU)
    found.append(gpu_arms.seconds_and_accuracy(ours))
    assert all(seconds > 0 and 0 <= accuracy <= 100 for seconds, accuracy in found)


READY_LATE = """
import json, sys, time
from pathlib import Path
from tests.benchmarks import gpu_arms
out = Path(sys.argv[2])
late = 3 * float(out.stem.removeprefix("arm-"))
time.sleep(late)
gpu_arms.wait_for_others(out, 2)
out.write_text(json.dumps({"seconds": time.monotonic()}))
"""


def test_processes_that_share_a_device_begin_at_once(tmp_path: Path) -> None:
    for place in range(2):  # of a run before
        (tmp_path / f"arm-{place}.ready").touch()
    first, second = gpu_arms.together([sys.executable, "-c", READY_LATE], tmp_path, 2)
    assert abs(first - second) < 1.5


def test_an_arm_that_shares_the_device_does_not_train_before_the_others_are_ready(
    digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "arm-0.json"
    given = ["--arm", "plain", "--out", str(out), "--share", "0.5", "--teacher-epochs", "1"]
    bench = small_bench(tmp_path / "gpu.json", digits, monkeypatch, *given)
    monkeypatch.setattr(gpu_arms, "_PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(gpu_arms, "seconds_and_accuracy", lambda epochs: (1.0, 50.0))
    with pytest.raises(TimeoutError, match="not all of 2 processes were ready"):
        bench.one_arm("plain", 1)
    (tmp_path / "arm-1.ready").touch()
    assert bench.one_arm("plain", 1) == (1.0, 50.0)


def test_the_report_says_what_is_there_and_no_more() -> None:
    about = {"device": "cpu (some)", "torch": "2.15", "precision": "float32"}
    found: dict[str, Any] = {"about": about}
    assert gpu.report(found) == "cpu (some), torch 2.15, float32"
    row = {"label": "Baseline", "test": 91.234, "seconds": 36.0, "limit_s": 3.6, "steps": "graph"}
    found["rows"] = {"rows": [row]}
    found["outputs"] = {"seconds": 80.0}
    found["arms"] = {
        "arms": {
            "tutorial": {"seconds": 100.0, "accuracy": 50.0},
            "ours": {"seconds": 10.0, "accuracy": 50.5},
        }
    }
    lines = gpu.report(found).splitlines()
    assert lines[3].split()[:6] == ["Baseline", "91.23", "36.0", "3.60", "100", "1,000"]
    # 100 s against 10 s and the table's 80 s over 8, 32 and 128 trials.
    assert lines[-2].split() == ["tutorial", "100.0", "50.0", "5.00", "8.00", "9.41"]
    assert lines[-1].split() == ["ours", "10.0", "50.5", "1.00", "1.00", "1.00"]
