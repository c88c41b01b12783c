"""What one GPU does: teacher, its table of answers, the nine block students, and where time goes.

    python -m tests.benchmarks.gpu --data data --keep gpu.json               # all of it
    python -m tests.benchmarks.gpu --data data --keep gpu.json --limit 540   # in slices, again
    python -m tests.benchmarks.gpu --keep gpu.json --report                  # what is there
    python -m tests.benchmarks.gpu --device cpu --quick                      # all, in small

Needs torch, torchvision and numpy; neither Ray nor Optuna nor MLflow. `--data` is the folder in
which `cifar10` lies, as torchvision has it or as an image folder. With `--keep` all that is done is
kept, results in that file and networks in a folder beside it; the same command goes on where the
last one stopped, also in the midst of a training.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from search_spaces.cifar_blocks import SPACE
from study.distillation import checkpoint, methods
from study.distillation.acceleration import prepare_gpu
from study.distillation.data import load
from study.distillation.evaluation import evaluate
from study.distillation.measurement import device_name, profile_model
from study.distillation.precision import resolve_precision
from study.distillation.teacher import ViewedImages, cached_teacher_outputs, obtain_teacher
from study.distillation.training import (
    CachedTeacher,
    StudentTrainer,
    TrainingSettings,
    WholeTable,
)
from study.distillation.views import distinct_views
from tests.benchmarks import gpu_arms, gpu_limits
from tests.benchmarks.gpu_report import report
from tests.benchmarks.gpu_size import FULL, QUICK

STAGES = ["peak", "teacher", "outputs", "rows", "latency", "steps", "fused", "sharing", "arms"]


class OutOfTime(Exception):
    """`--limit` is reached; what was done is kept."""


class Bench:
    """The stages, over what is kept between them."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        """Read what is kept, and the data."""
        self.args = args
        size = QUICK if args.quick else FULL
        self.size = size.shorter(args.teacher_epochs, args.epochs, args.views)
        self.device = torch.device(args.device)
        self.precision = resolve_precision("auto", self.device)
        self.deadline = time.monotonic() + args.limit if args.limit else None
        self.folder = folder
        self.file: Path | None = args.keep
        self.found = kept(self.file, self._about())
        self.data = load(
            self.size.data,
            args.data,
            cache_dir=folder / "datasets",
            image_size=self.size.image_size,
        )

    def run(self, stages: Sequence[str]) -> None:
        """Do what is not done yet of the stages.

        Raises:
            OutOfTime: The rest is left.
        """
        for stage in STAGES:
            # The limits of all others are shares of the peak.
            asked = stage in stages or stage == "peak"
            if asked and not self.found.get(stage, {}).get("done"):
                self.check_time()
                say(f"{stage} …")
                start = time.monotonic()
                getattr(self, f"_{stage}")()
                self.note(stage, done=True)
                say(f"{stage}: {time.monotonic() - start:.0f} s")

    def note(self, stage: str, **facts: Any) -> None:
        """Keep what a stage found."""
        self.found.setdefault(stage, {}).update(facts)
        if self.file is not None:
            partial = self.file.with_name(self.file.name + ".partial")
            partial.write_text(json.dumps(self.found, indent=1))
            partial.replace(self.file)

    def check_time(self) -> None:
        """Stop at the limit.

        Raises:
            OutOfTime: It is reached.
        """
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise OutOfTime

    def teacher(self) -> Any:
        """The trained teacher, as far as there is time.

        Raises:
            OutOfTime: It is not trained yet.
        """

        def on_epoch(epoch: Any) -> None:
            say(f"  epoch {epoch.epoch}/{self.size.teacher.epochs}: {epoch.val_score:.2f} %")
            self.check_time()

        found, _ = obtain_teacher(
            self.folder / "teachers", self.size.teacher, self.data, self.device, 0, on_epoch,
            self.precision,
        )  # fmt: skip
        return found

    def table(self, model: nn.Module) -> CachedTeacher:
        """The teacher's answers to the views, computed as far as there is time.

        Raises:
            OutOfTime: Some are missing.
        """

        def progress(done: int, total: int) -> None:
            self.check_time()

        data, views = self.data, self.size.views
        asked = ViewedImages(
            data.train.images, data.augmentation, data.mean, data.std, views, seed=0
        )
        answers = cached_teacher_outputs(
            self.folder, model, asked, self.device, self.precision, progress=progress
        )
        if views is not None:
            return CachedTeacher(answers, self.device)
        return WholeTable(answers, data.augmentation, 0, self.device)

    def settings(self, epochs: int, seed: int = 0) -> TrainingSettings:
        """The recipe of every student."""
        return TrainingSettings(
            epochs=epochs,
            batch_size=self.size.batch_size,
            learning_rate=self.size.learning_rate,
            schedule="onecycle",
            seed=seed,
            views=self.size.views,
            view_seed=0,
            precision=self.precision,
        )

    def row_params(self, row: Any) -> dict[str, Any]:
        """The architecture of a published row, on the CIFAR stem."""
        return SPACE.complete({**row.params, "stem": "cifar", "width": self.size.width})

    def student(self, params: dict[str, Any], seed: int = 0) -> nn.Module:
        """A network with its first weights."""
        torch.manual_seed(seed)
        network: nn.Module = SPACE.build_student(params, self.data.num_classes, self.data.shape)
        return network

    def _about(self) -> dict[str, Any]:
        return {
            "device": device_name(self.device),
            "torch": torch.__version__,
            "precision": self.precision,
            "size": json.loads(json.dumps(asdict(self.size))),
        }

    def _peak(self) -> None:
        self.note(
            "peak", tflops=gpu_limits.peak_tflops(self.device, self.precision, self.size.matrix)
        )

    def _teacher(self) -> None:
        found = self.teacher()
        model = found.model.to(self.device)
        split = self.data
        _, test = evaluate(model, split.test, split.mean, split.std, self.device)
        flops = profile_model(model, split.shape).flops_m
        seconds = sum(epoch.seconds for epoch in found.curve) / len(found.curve)
        self.note(
            "teacher", title=found.recipe.title, test=test, validation=found.val_score,
            seconds_an_epoch=seconds, mflops=flops, epochs=len(found.curve),
            limit_s=self._limit(flops),
        )  # fmt: skip

    def _outputs(self) -> None:
        found = self.teacher()
        views = self.size.views or distinct_views(self.data.augmentation)
        images = len(self.data.train)
        start, before = time.monotonic(), self.found.get("outputs", {}).get("seconds", 0.0)
        try:
            self.table(found.model)
        finally:
            self.note("outputs", seconds=before + time.monotonic() - start)
        seconds = self.found["outputs"]["seconds"]
        flops = profile_model(found.model, self.data.shape).flops_m
        self.note(
            "outputs", views=views, images=images, megabytes=2e-6 * views * images * 10,
            images_a_second=views * images / seconds,
            limit_s=views * images * flops / (1e6 * self.found["peak"]["tflops"]),
        )  # fmt: skip

    def _rows(self) -> None:
        source = self.table(self.teacher().model)
        rows: list[dict[str, Any]] = self.found.get("rows", {}).get("rows", [])
        for row in SPACE.presets["paper"][len(rows) :]:
            rows.append(self._row(row, source))
            self.note("rows", rows=rows)
            say(f"  {rows[-1]['label']:28}{rows[-1]['test']:6.2f} %, {rows[-1]['seconds']:.1f} s")

    def _row(self, row: Any, source: WholeTable) -> dict[str, Any]:
        params = self.row_params(row)
        student, settings = self.student(params), self.settings(self.size.epochs)
        loss = {"terms": "weighted", "temperature": gpu_arms.TEMPERATURE, "alpha": gpu_arms.ALPHA}
        method = methods.build({"terms": "ce"} if params["terms"] == "ce" else loss)
        data = gpu_limits.share_of(self.data, float(params["train_share"]))
        trainer = StudentTrainer(student, method, data, source, settings, self.device)
        path, seconds = self.folder / "row.pt", 0.0
        if path.exists():
            state = checkpoint.load(path)
            if state["label"] == row.label:
                trainer.load_state(state["trainer"])
                seconds = state["seconds"]
        while trainer.epochs_done < settings.epochs:
            seconds += trainer.run_epoch().seconds
            state = {"label": row.label, "seconds": seconds, "trainer": trainer.state()}
            try:
                self.check_time()
            except OutOfTime:
                checkpoint.save(path, state)
                raise
        split = self.data
        _, test = evaluate(student, split.test, split.mean, split.std, self.device)
        flops = profile_model(student, split.shape).flops_m
        return {
            "label": row.label, "student": SPACE.describe(params), "test": test,
            "seconds": seconds, "mflops": flops, "steps": trainer.steps_taken,
            "limit_s": settings.epochs * self._limit(flops, len(data.train)),
        }  # fmt: skip

    def _limit(self, mflops: float, images: int | None = None) -> float:
        """Seconds of an epoch at the measured peak: three forward passes' arithmetic an image."""
        images = len(self.data.train) if images is None else images
        return 3 * mflops * images / (1e6 * self.found["peak"]["tflops"])

    def _latency(self) -> None:
        found: dict[str, Any] = self.found.get("latency", {}).get("students", {})
        teacher = self.teacher().model.eval()
        for name, params in self._networks():
            if name not in found:
                self.check_time()
                found[name] = gpu_limits.latency_pairs(
                    self.student(params).eval(), teacher, self.data.shape, self.device,
                    self.size.latency_repeats,
                )  # fmt: skip
                self.note("latency", students=found)

    def _networks(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each network of the rows once, by its name."""
        by_name = {}
        for row in SPACE.presets["paper"]:
            params = self.row_params(row)
            by_name.setdefault(SPACE.describe(params), params)
        yield from by_name.items()

    def _steps(self) -> None:
        ways: list[dict[str, Any]] = self.found.get("steps", {}).get("students", [])
        labels = {way["student"] for way in ways}
        for name, params in self._networks():
            if name in labels:
                continue
            self.check_time()
            ways.append(
                {"student": name}
                | gpu_limits.step_times(
                    lambda params=params: self.student(params),  # type: ignore[misc]
                    self.data, self.settings(1), self.device, self.size.steps,
                    compiled=not self.args.quick,
                )
            )  # fmt: skip
            self.note("steps", students=ways)

    def _fused(self) -> None:
        rows = {row.label: row for row in SPACE.presets["paper"]}
        params = self.row_params(rows["[1,1,1,1], stride 2"])
        found = {}
        for width in sorted({16, self.size.width}):
            for runs in self.size.runs:
                self.check_time()
                made = [self.student({**params, "width": width}, seed) for seed in range(runs)]
                own = [self.settings(3, seed) for seed in range(runs)]
                name = f"{SPACE.describe({**params, 'width': width})}, {runs} runs"
                found[name] = gpu_limits.fused_speedup(made, self.data, own, self.device)
        self.note("fused", times_as_fast=found)

    def _sharing(self) -> None:
        found = {}
        for processes in (1, 2, 4):
            self.check_time()
            seconds = self._together(processes, "ours")
            found[str(processes)] = 3600 * processes / max(seconds)
            if self.device.type == "cpu":
                break
        self.note("sharing", trials_an_hour=found, epochs=self.size.arm_epochs)

    def _arms(self) -> None:
        found: dict[str, Any] = self.found.get("arms", {}).get("arms", {})
        for arm in gpu_arms.ARMS:
            if arm in found:
                continue
            self.check_time()
            if arm == "tutorial":
                start = time.perf_counter()
                for _ in range(self.size.arm_trials):
                    self._together(1, arm)
                seconds = (time.perf_counter() - start) / self.size.arm_trials
                accuracy = json.loads((self.folder / "arm-0.json").read_text())["accuracy"]
            else:
                seconds, accuracy = self.one_arm(arm, self.size.arm_trials)
            found[arm] = {"seconds": seconds, "accuracy": accuracy}
            self.note("arms", arms=found, epochs=self.size.arm_epochs)
            say(f"  {arm:10}{seconds:8.1f} s a trial, {accuracy:.1f} %")

    def one_arm(self, arm: str, trials: int) -> tuple[float, float]:
        """Seconds a trial, and the accuracy of the last (%)."""
        rows = {row.label: row for row in SPACE.presets["paper"]}
        params = self.row_params(rows["[1,1,1,1], stride 2"])
        model, settings = self.teacher().model, self.settings(self.size.arm_epochs)
        total = accuracy = 0.0
        source = self.table(model) if arm == "ours" else None
        tuned = arm == "tuned"
        workers = max(2, (torch.get_num_threads() or 2) - 1) if tuned else 2
        loaded = None
        for _ in range(trials):
            student = self.student(params)
            if source is not None:
                epochs = gpu_arms.by_table(student, source, self.data, settings, self.device)
            else:
                if loaded is None or not tuned:
                    loaded = gpu_arms.Loaded.of(
                        self.data, settings.batch_size, workers, tuned=tuned
                    )
                epochs = gpu_arms.by_loader(
                    student, model, loaded, settings, self.device, tuned=tuned
                )
            if self.args.out is not None:
                gpu_arms.wait_for_others(self.args.out, round(1 / self.args.share))
            seconds, accuracy = gpu_arms.seconds_and_accuracy(epochs)
            total += seconds
        return total / trials, accuracy

    def _together(self, processes: int, arm: str) -> list[float]:
        """Seconds of a trial in each of so many processes that share the device."""
        command = [
            sys.executable, "-m", "tests.benchmarks.gpu", "--device", self.args.device,
            "--work", str(self.folder), "--arm", arm, "--share", str(1 / processes),
        ]  # fmt: skip
        command += ["--quick"] if self.args.quick else []
        for option in ("data", "teacher_epochs", "epochs", "views"):
            if (value := getattr(self.args, option)) is not None:
                command += [f"--{option.replace('_', '-')}", str(value)]
        return gpu_arms.together(command, self.folder, processes)


def kept(file: Path | None, about: dict[str, Any]) -> dict[str, Any]:
    """What earlier slices found.

    Raises:
        SystemExit: They ran on another device, or in another size.
    """
    if file is None or not file.exists():
        return {"about": about}
    found: dict[str, Any] = json.loads(file.read_text())
    for name, value in about.items():
        if found["about"][name] != value:
            raise SystemExit(
                f"{file} was begun with {name} {found['about'][name]}, now {value}: "
                "name another file with --keep"
            )
    return found


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="digits and small networks, minutes")
    parser.add_argument("--data", type=Path, metavar="DIR", help="where cifar10 lies")
    parser.add_argument("--teacher-epochs", type=int, metavar="N", help="(default: 40)")
    parser.add_argument("--epochs", type=int, metavar="N", help="of a student (default: 50)")
    parser.add_argument(
        "--views", type=int, metavar="N", help="that the teacher answers (default: all)"
    )
    parser.add_argument("--stage", nargs="+", default=STAGES, choices=STAGES, help="(default: all)")
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="stop after about so long")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="go on from it, and add to it")
    parser.add_argument("--report", action="store_true", help="show what --keep holds, and end")
    for hidden in ("--work", "--out"):
        parser.add_argument(hidden, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--arm", choices=gpu_arms.ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--share", type=float, default=1.0, help=argparse.SUPPRESS)
    return parser


def main(given: list[str] | None = None) -> int:
    """Do what is asked; 0 also where the rest is left for want of time."""
    args = arguments().parse_args(given)
    if args.report:
        if args.keep is None or not args.keep.exists():
            raise SystemExit("--report shows what --keep FILE holds: name a file that is there")
        print(report(json.loads(args.keep.read_text())))
        return 0
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch finds no GPU here; give --device cpu --quick")
    prepare_gpu(args.share if args.device == "cuda" else 0.0)
    with tempfile.TemporaryDirectory(prefix="gpu-benchmark-") as scratch:
        folder = args.work or (args.keep.with_suffix(".work") if args.keep else Path(scratch))
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(args, folder)
        if args.arm is not None:
            seconds, accuracy = bench.one_arm(args.arm, 1)
            args.out.write_text(json.dumps({"seconds": seconds, "accuracy": accuracy}))
            return 0
        left = ""
        try:
            bench.run(args.stage)
        except OutOfTime:
            left = "\nStopped at --limit; give the same command again to go on."
        print(report(bench.found) + left)
    return 0


if __name__ == "__main__":
    sys.exit(main())
