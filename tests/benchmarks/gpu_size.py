"""How large the benchmark on a GPU is: as published, or in small for a processor."""

from dataclasses import dataclass, replace

from study.distillation.teacher import TeacherRecipe


@dataclass(frozen=True)
class Size:
    """How large everything is.

    `views` is how many of the drawn views the teacher answers: None, all that there are.
    """

    data: str
    image_size: int | None
    teacher: TeacherRecipe
    epochs: int
    views: int | None
    batch_size: int
    learning_rate: float
    width: int
    arm_epochs: int
    arm_trials: int
    steps: int
    runs: tuple[int, ...]
    matrix: int
    latency_repeats: int

    def shorter(self, teacher_epochs: int | None, epochs: int | None, views: int | None) -> "Size":
        """The same with other numbers of epochs and views, where they are given."""
        teacher = replace(self.teacher, epochs=teacher_epochs or self.teacher.epochs)
        return replace(
            self, teacher=teacher, epochs=epochs or self.epochs, views=views or self.views
        )


FULL = Size(
    data="cifar10",
    image_size=None,
    teacher=TeacherRecipe(stem="cifar", epochs=40, batch_size=512, learning_rate=0.2),
    epochs=50,
    views=None,
    batch_size=256,
    learning_rate=0.2,
    width=64,
    arm_epochs=2,
    arm_trials=2,
    steps=60,
    runs=(2, 4, 8),
    matrix=8192,
    latency_repeats=3,
)
QUICK = Size(
    data="digits",
    image_size=16,
    teacher=TeacherRecipe(
        depths=(1, 1, 1, 1), width_per_group=16, epochs=2, batch_size=64, learning_rate=0.05
    ),
    epochs=1,
    views=None,
    batch_size=64,
    learning_rate=0.05,
    width=16,
    arm_epochs=1,
    arm_trials=1,
    steps=14,
    runs=(2,),
    matrix=512,
    latency_repeats=1,
)
