"""The arms without the service: the same students, data, loss, optimiser and schedule.

    python -m tests.benchmarks.throughput.bare ARM OUT TEACHER -- ARGUMENTS

`tutorial` is the way of Ray Tune's tutorial: a fresh actor for each trial, a DataLoader with
workers over torchvision's transforms, and, as tutorials of distillation have it, a forward pass of
the teacher at each step. `tuned` is the same as a careful engineer would have it: actors reused,
their loaders with persistent workers kept from trial to trial. `plain` trains one student after
another in one process. ARGUMENTS are those of `study.launch`; OUT gets the accuracies.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from cluster.connect import available_cpus
from search_spaces.space import Params, SearchSpace
from study.arguments import parser
from study.class_task import class_data
from study.distillation.image_data import ImageData, Split
from study.distillation.losses import response_loss
from study.distillation.schedules import SCHEDULES
from study.distillation.stepping import make_optimizer
from study.distillation.teacher_store import load_teacher
from study.distillation.trainer import TrainingSettings
from study.plan import StudyPlan
from study.preparation import student_data
from study.resolving import resolve
from study.seed_points import seed_points
from study.task import task_of

ARMS = ("tutorial", "tuned", "plain")
# Processes that load for a trial: as the tutorial has it, and so that every core has one worker.
LOADER_WORKERS = {"tutorial": 2, "tuned": 1, "plain": 2}
_VALIDATED_AT_ONCE = 256


class AsImages(Dataset[tuple[Any, int]]):
    """Arrays as torchvision's data sets hold them: a PIL image of each, transformed when asked."""

    def __init__(self, split: Split, transform: Callable[[Any], Any]) -> None:
        self._images, self._labels = split.images, split.labels
        self._transform = transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        pixels = self._images[index]
        image = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
        return self._transform(image), int(self._labels[index])


@dataclass(frozen=True)
class Work:
    """What all trials of an arm share."""

    space: SearchSpace
    plan: StudyPlan
    data: ImageData
    configurations: tuple[Params, ...]
    teacher: nn.Module

    @classmethod
    def of(cls, arguments: list[str], teacher: Path) -> "Work":
        """Read what a launch with these arguments would read."""
        args = parser().parse_args(arguments)
        plan, space = resolve(args)
        datasets = Path(args.studies) / "datasets"
        whole = class_data(task_of(space).load(plan, space, datasets, lambda *_: None))
        points = seed_points(space, plan.preset, plan.fixed)[: plan.budget.trials]
        return cls(
            space,
            plan,
            class_data(student_data(whole, plan.train_per_class)),
            tuple(dict(point.params) for point in points),
            load_teacher(teacher).model.eval().to(memory_format=torch.channels_last),
        )

    def loaders(self, batch_size: int, arm: str) -> tuple[Any, Any]:
        """Loaders of the train and the validation split."""
        data = self.data
        height, width, _ = data.shape
        plain = [transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
        augmented: list[Any] = []
        if data.augmentation.pad:
            augmented.append(transforms.RandomCrop((height, width), padding=data.augmentation.pad))
        if data.augmentation.flip:
            augmented.append(transforms.RandomHorizontalFlip())
        how: Any = {"num_workers": LOADER_WORKERS[arm], "persistent_workers": arm == "tuned"}
        train = AsImages(data.train, transforms.Compose([*augmented, *plain]))
        validation = AsImages(data.validation, transforms.Compose(plain))
        return (
            DataLoader(train, batch_size, shuffle=True, drop_last=False, **how),
            DataLoader(validation, _VALIDATED_AT_ONCE, **how),
        )


def epochs_of(work: Work, params: Params, loaders: tuple[Any, Any]) -> Iterator[float]:
    """Train one student, and say after each epoch what it scores on the validation split (%)."""
    torch.manual_seed(work.plan.seed)
    data, epochs = work.data, work.space.epochs_of(params, work.plan.max_epochs)
    student = work.space.build_student(params, data.num_classes, data.shape)
    student = student.to(memory_format=torch.channels_last)
    settings = TrainingSettings(
        epochs=epochs,
        batch_size=int(params["batch_size"]),
        learning_rate=float(params["learning_rate"]),
        schedule=str(params["schedule"]),
        optimizer=str(params.get("optimizer", "sgd")),
    )
    optimizer = make_optimizer((student,), settings)
    # From softened answers alone the labels have no part in it.
    alpha = 1.0 if params.get("targets") == "soft" else float(params["alpha"])
    train, validation = loaders
    course, step = SCHEDULES[settings.schedule], 0
    for _ in range(epochs):
        student.train()
        for batch, labels in train:
            images = batch.to(memory_format=torch.channels_last)
            with torch.no_grad():
                answers = work.teacher(images)
            optimizer.zero_grad(set_to_none=True)
            temperature = float(params["temperature"])
            loss = response_loss(student(images), answers, labels, temperature, alpha)
            torch.autograd.backward(loss)
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * course(step, epochs * len(train))
            optimizer.step()
            step += 1
        yield accuracy(student, validation)


@torch.inference_mode()
def accuracy(student: nn.Module, validation: Any) -> float:
    """Percent of the validation split that is named right."""
    student.eval()
    right = sum(int((student(images).argmax(1) == labels).sum()) for images, labels in validation)
    return 100.0 * right / len(validation.dataset)


def plain(work: Work) -> list[float]:
    """One student after another; torch has all cores."""
    scores = []
    for params in work.configurations:
        *_, last = epochs_of(work, params, work.loaders(int(params["batch_size"]), "plain"))
        scores.append(last)
    return scores


def by_ray(work: Work, scratch: Path, *, tuned: bool) -> list[float]:
    """As many trials at once as there are cores, one a core."""
    import ray
    from ray import tune

    class Tuned(tune.Trainable):
        """Keeps its process and its loaders from trial to trial."""

        def setup(self, config: dict[str, Any], work: Work) -> None:
            self._work = work
            self._loaders: dict[int, tuple[Any, Any]] = {}
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            params = self._work.configurations[new_config["place"]]
            size = int(params["batch_size"])
            if size not in self._loaders:
                self._loaders[size] = self._work.loaders(size, "tuned")
            self._epochs = epochs_of(self._work, params, self._loaders[size])
            self._left = self._work.space.epochs_of(params, self._work.plan.max_epochs)
            return True

        def step(self) -> dict[str, Any]:
            self._left -= 1
            return {"accuracy": next(self._epochs), "done": self._left == 0}

    def tutorial(config: dict[str, Any], work: Work) -> None:
        params = work.configurations[config["place"]]
        for value in epochs_of(work, params, work.loaders(int(params["batch_size"]), "tutorial")):
            tune.report({"accuracy": value})

    trainable: Any = Tuned if tuned else tutorial
    ray.init(
        address="local",
        num_cpus=available_cpus(),
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )
    results = tune.Tuner(
        tune.with_resources(tune.with_parameters(trainable, work=work), {"cpu": 1}),
        param_space={"place": tune.grid_search(list(range(len(work.configurations))))},
        tune_config=tune.TuneConfig(reuse_actors=tuned),
        run_config=tune.RunConfig(
            verbose=0,
            storage_path=str(scratch),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()
    ray.shutdown()
    if results.errors:
        raise results.errors[0]
    found = {r.config["place"]: float(r.metrics["accuracy"]) for r in results}
    return [found[place] for place in range(len(work.configurations))]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("arm", choices=ARMS)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("teacher", type=Path, help="folder of the kept teacher")
    arguments.add_argument("launch", nargs="+", help="after --: arguments of study.launch")
    args = arguments.parse_args()
    work = Work.of(args.launch, args.teacher)
    if args.arm == "plain":
        scores = plain(work)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            scores = by_ray(work, Path(scratch), tuned=args.arm == "tuned")
    args.out.write_text(json.dumps({"accuracies": [round(score, 4) for score in scores]}))


if __name__ == "__main__":
    main()
