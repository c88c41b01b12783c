"""The task of translating paired images, X to Y and Y to X."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.results import Figure
from search_spaces.space import PSNR, SearchSpace, SpaceError
from study.plan import PlanError, StudyPlan
from study.task import Tested

if TYPE_CHECKING:
    import torch

    from search_spaces.networks.autoencoder import TranslatorPair
    from study.distillation.feasibility import Networks
    from study.distillation.fused import FusedTraining
    from study.distillation.pair_data import PairData, PairSummary
    from study.distillation.precision import Precision
    from study.distillation.trainer import EpochTrainer
    from study.task import Data
    from study.trial_context import TrialContext


class PairTask:
    """Pairs of images; a student is two autoencoders of one shape, trained together."""

    def describe(self, plan: StudyPlan) -> "PairSummary":
        """Say what folder of pairs the plan names."""
        from study.distillation.pair_data import describe

        if plan.train_per_class is not None:
            raise PlanError(
                f"--train-per-class {plan.train_per_class}: space {plan.space} learns from pairs "
                "of images, which have no classes; leave the option out"
            )
        return describe(plan.data, plan.data_folder)

    def load(
        self,
        plan: StudyPlan,
        space: SearchSpace,
        cache_dir: Path,
        progress: Callable[[str, int, int], None],
        *,
        download: bool = True,
    ) -> "PairData":
        """Read it; nothing is cached, and nothing can be fetched."""
        from study.distillation.pair_data import load

        return load(
            plan.data,
            plan.data_folder,
            image_size=plan.image_size,
            augment=space.augment,
            progress=progress,
        )

    def floor_score(self, space: SearchSpace, data: "Data") -> float:
        """Return the PSNR (dB) of always answering the mean training image, on validation."""
        from study.distillation.pair_evaluation import mean_answer_psnr

        if space.score != PSNR:
            raise SpaceError(
                f"space {space.name}: pairs of images are scored by {PSNR.name}, not by "
                f"{space.score.name}"
            )
        pairs = pair_data(data)
        return mean_answer_psnr(pairs.train, pairs.validation)

    def check_methods(
        self, configurations: Iterable[tuple[str, Mapping[str, Any]]], networks: "Networks"
    ) -> None:
        """Refuse connections of features that do not fit together, or students that are no pair."""
        from study.distillation.feasibility import InfeasibleError
        from study.distillation.methods import cross_domain
        from study.distillation.methods.base import MethodError

        for name, params in configurations:
            try:
                cross_domain.from_params(params)
            except MethodError as error:
                raise InfeasibleError(f"{name}: {error}") from None

    def step_seconds(
        self,
        student: "torch.nn.Module",
        shape: tuple[int, int, int],
        classes: int,
        batch_size: int,
        device: "torch.device",
        precision: "Precision",
    ) -> float:
        """Time a step of both autoencoders without connections."""
        from study.distillation.pair_training import training_step_seconds

        return training_step_seconds(_both(student), shape, batch_size, device, precision=precision)

    def work_a_layer(
        self, student: "torch.nn.Module", shape: tuple[int, int, int], batch_size: int
    ) -> float:
        """Count it in one autoencoder: the other is like it."""
        from study.distillation.measurement import work_a_layer

        return work_a_layer(self.measured(student), shape, batch_size)

    def measured(self, student: "torch.nn.Module") -> "torch.nn.Module":
        """Return one autoencoder, X to Y: the other has the same shape."""
        return _both(student).one_direction()

    def trainer(
        self,
        student: "torch.nn.Module",
        params: Mapping[str, Any],
        context: "TrialContext",
        epochs: int,
    ) -> "EpochTrainer":
        """Return a trainer for both directions."""
        from study.distillation.methods import cross_domain
        from study.distillation.pair_training import PairTrainer
        from study.student import device_of, training_settings

        return PairTrainer(
            _both(student),
            cross_domain.from_params(params),
            pair_data(context.data),
            training_settings(context, params, epochs),
            device_of(context),
        )

    def to_fuse(
        self,
        students: "Sequence[torch.nn.Module]",
        params: Mapping[str, Any],
        contexts: "Sequence[TrialContext]",
        epochs: int,
    ) -> "FusedTraining":
        """Refuse: steps of two autoencoders at a time have no fused form."""
        from study.distillation.stack import CannotFuse

        raise CannotFuse("pairs of autoencoders are trained one by one")

    def test(self, student: "torch.nn.Module", context: "TrialContext") -> Tested:
        """Score both directions by PSNR, and give PSNR and SSIM of each."""
        from study.distillation.pair_evaluation import ResidentPairs, score_pairs
        from study.student import device_of

        split = ResidentPairs.of(pair_data(context.data).test, device_of(context))
        found = score_pairs(student, split, with_ssim=True)
        return Tested(
            found.score,
            (
                Figure("PSNR, X to Y", found.psnr_x_to_y, "dB"),
                Figure("PSNR, Y to X", found.psnr_y_to_x, "dB"),
                Figure("SSIM, X to Y", found.ssim_x_to_y, ""),
                Figure("SSIM, Y to X", found.ssim_y_to_x, ""),
            ),
        )


def pair_data(data: "Data") -> "PairData":
    """Return `data` as pairs of images, where the space says that they are."""
    from study.distillation.pair_data import PairData

    if not isinstance(data, PairData):
        raise TypeError(f"{data.name} holds no pairs of images")
    return data


def _both(student: "torch.nn.Module") -> "TranslatorPair":
    from search_spaces.networks.autoencoder import TranslatorPair

    if not isinstance(student, TranslatorPair):
        raise TypeError(
            f"a student of pairs is a TranslatorPair (search_spaces/networks/autoencoder.py), not "
            f"a {type(student).__name__}"
        )
    return student
