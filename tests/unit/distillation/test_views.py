import numpy as np
import pytest
import torch

from study.distillation.image_data import Augmentation
from study.distillation.views import (
    Normalizer,
    ViewDraws,
    apply_view,
    cells,
    distinct_views,
    draws_of_cell,
    normalise,
    to_nchw,
    view_draws,
)

STANDARD = Augmentation(pad=4, flip=True)


def random_images(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def one_by_one(images: torch.Tensor, draws: ViewDraws) -> torch.Tensor:
    """Crop and flip (n, h, w, c) images in a plain loop."""
    pad = draws.augmentation.pad
    _, height, width, _ = images.shape
    results = []
    for i, image in enumerate(images.numpy()):
        padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
        top, left = int(draws.dy[i]), int(draws.dx[i])
        crop = padded[top : top + height, left : left + width]
        results.append(crop[:, ::-1] if draws.flip[i] else crop)
    return torch.from_numpy(np.stack(results)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("pad", [0, 1, 4, 9])
@pytest.mark.parametrize("shape", [(50, 32, 32, 3), (50, 28, 28, 1), (50, 12, 20, 3), (1, 8, 8, 3)])
def test_batched_view_equals_a_loop_over_the_images(
    shape: tuple[int, ...], pad: int, flip: bool
) -> None:
    images = random_images(*shape)
    draws = view_draws(3, 1, shape[0], Augmentation(pad, flip))
    viewed = apply_view(images, draws)
    assert viewed.dtype == torch.uint8
    assert viewed.shape == (shape[0], shape[3], shape[1], shape[2])
    assert torch.equal(viewed, one_by_one(images, draws))


def test_every_corner_and_flip_is_cropped_exactly() -> None:
    number = torch.arange(9 * 9 * 2)
    dy, dx, flip = number // 18, number // 2 % 9, number % 2 == 1
    images = random_images(len(dy), 32, 32, 3)
    draws = ViewDraws(dy, dx, flip, STANDARD)
    assert torch.equal(apply_view(images, draws), one_by_one(images, draws))


def test_both_memory_orders_give_the_same_view_in_channels_last_memory() -> None:
    images = random_images(40, 32, 32, 3)
    draws = view_draws(0, 0, 40, STANDARD)
    stored = apply_view(images, draws)
    contiguous = apply_view(images.permute(0, 3, 1, 2).contiguous(), draws)
    assert torch.equal(stored, contiguous)
    assert stored.is_contiguous(memory_format=torch.channels_last)
    assert contiguous.is_contiguous(memory_format=torch.channels_last)


def test_a_view_does_not_change_its_source() -> None:
    images = random_images(20, 16, 16, 3)
    before = images.clone()
    apply_view(images, view_draws(0, 0, 20, STANDARD))
    assert torch.equal(images, before)


def test_no_padding_and_no_flip_is_the_identity_without_a_copy() -> None:
    images = random_images(20, 16, 16, 3)
    draws = view_draws(5, 7, 20, Augmentation(pad=0, flip=False))
    viewed = apply_view(images, draws)
    assert torch.equal(viewed, images.permute(0, 3, 1, 2))
    assert viewed.data_ptr() == images.data_ptr()
    assert draws.dy.abs().sum() == draws.dx.abs().sum() == draws.flip.sum() == 0


def test_padding_is_black() -> None:
    images = torch.full((1, 8, 8, 3), 255, dtype=torch.uint8)
    top_left = torch.tensor([0])
    viewed = apply_view(
        images, ViewDraws(top_left, top_left, torch.tensor([False]), Augmentation(3, True))
    )
    assert viewed[:, :, :3].sum() == viewed[:, :, :, :3].sum() == 0
    assert (viewed[:, :, 3:, 3:] == 255).all()


def test_draws_of_fewer_images_are_a_prefix_of_the_draws_of_more() -> None:
    many = view_draws(11, 3, 1000, STANDARD)
    for count in (0, 1, 3, 4, 5, 999):
        few = view_draws(11, 3, count, STANDARD)
        assert len(few) == count
        assert torch.equal(few.dy, many.dy[:count])
        assert torch.equal(few.dx, many.dx[:count])
        assert torch.equal(few.flip, many.flip[:count])


def test_a_batch_by_rows_is_the_batch_of_the_whole_view() -> None:
    images = random_images(100, 32, 32, 3)
    draws = view_draws(2, 4, 100, STANDARD)
    rows = torch.randperm(100, generator=torch.Generator().manual_seed(1))[:32]
    assert torch.equal(apply_view(images[rows], draws.take(rows)), apply_view(images, draws)[rows])


def test_draws_depend_on_seed_and_view_alone() -> None:
    torch.manual_seed(1)
    first = view_draws(0, 1, 500, STANDARD)
    torch.manual_seed(2)
    again = view_draws(0, 1, 500, STANDARD)
    assert torch.equal(first.dy, again.dy)
    for seed, view in ((0, 0), (1, 0), (1, 1)):
        other = view_draws(seed, view, 500, STANDARD)
        # 81 corners: two independent draws agree on 1 in 81.
        agreeing = ((first.dy == other.dy) & (first.dx == other.dx)).float().mean()
        assert agreeing < 0.05


def test_the_stream_of_draws_never_changes() -> None:
    draws = view_draws(7, 2, 8, STANDARD)
    assert draws.dy.tolist() == [2, 1, 8, 0, 0, 4, 5, 7]
    assert draws.dx.tolist() == [0, 0, 5, 5, 4, 0, 6, 8]
    assert draws.flip.int().tolist() == [1, 0, 1, 1, 1, 1, 0, 1]


def test_corners_are_uniform_and_half_of_the_images_flip() -> None:
    count = 81_000
    draws = view_draws(0, 0, count, STANDARD)
    for axis in (draws.dy, draws.dx):
        assert axis.dtype == torch.int64
        assert (axis.min(), axis.max()) == (0, 8)
    seen = torch.bincount(draws.dy * 9 + draws.dx, minlength=81)
    # 1000 expected each: chi-squared with 80 degrees of freedom is below 124.8 in 99.9 %.
    assert float(((seen - 1000.0) ** 2 / 1000.0).sum()) < 124.8
    assert abs(float(draws.flip.float().mean()) - 0.5) < 0.01
    moved = draws.dy.double() - 4
    assert abs(float((moved * (draws.flip.double() - 0.5)).mean())) < 0.02


def test_an_augmentation_without_flip_keeps_the_crops_of_the_one_with() -> None:
    with_flip = view_draws(0, 0, 100, Augmentation(4, True))
    without = view_draws(0, 0, 100, Augmentation(4, False))
    assert torch.equal(with_flip.dy, without.dy)
    assert without.flip.sum() == 0


@pytest.mark.parametrize(("seed", "view", "count"), [(-1, 0, 1), (0, -2, 1), (0, 0, -3)])
def test_negative_numbers_are_refused_by_name(seed: int, view: int, count: int) -> None:
    with pytest.raises(ValueError, match=r"(seed is -1|view is -2|count is -3): give 0 or more"):
        view_draws(seed, view, count, STANDARD)


def test_draws_of_another_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="4 images, 5 draws"):
        apply_view(random_images(4, 8, 8, 3), view_draws(0, 0, 5, STANDARD))


def test_images_that_are_not_uint8_or_have_no_clear_channel_axis_are_refused() -> None:
    with pytest.raises(ValueError, match=r"torch.float32 \(4, 8, 8, 3\)"):
        to_nchw(random_images(4, 8, 8, 3).float())
    for shape in ((4, 3, 8, 3), (4, 8, 8, 2)):
        with pytest.raises(ValueError, match="channel axis"):
            to_nchw(random_images(*shape))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("last", [True, False])
def test_normalised_pixels_follow_the_formula_in_channels_last_memory(
    channels: int, last: bool
) -> None:
    images = random_images(10, 12, 16, channels).permute(0, 3, 1, 2)
    if not last:
        images = images.contiguous()
    mean, std = (0.5, 0.4, 0.3)[:channels], (0.2, 0.25, 0.3)[:channels]
    floats = normalise(images, mean, std)
    expected = (images.double() / 255 - torch.tensor(mean).double()[:, None, None]) / torch.tensor(
        std
    ).double()[:, None, None]
    assert floats.dtype == torch.float32
    assert floats.shape == images.shape
    assert floats.is_contiguous(memory_format=torch.channels_last)
    assert (floats - expected).abs().max() < 1e-6


def test_a_half_precision_batch_is_the_rounded_float_batch() -> None:
    images = random_images(10, 8, 8, 3).permute(0, 3, 1, 2)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    half = Normalizer(mean, std, dtype=torch.bfloat16)(images)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, normalise(images, mean, std).bfloat16())


def test_a_deviation_of_zero_or_a_missing_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"std \(0.0,\)"):
        Normalizer((0.5,), (0.0,))
    with pytest.raises(ValueError, match="one std above 0 each"):
        Normalizer((0.5, 0.5, 0.5), (0.2,))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_views_of_the_cpu() -> None:
    images = random_images(300, 32, 32, 3)
    draws = view_draws(0, 0, 300, STANDARD)
    expected = apply_view(images, draws)
    viewed = apply_view(images.cuda(), draws.to("cuda"))
    assert torch.equal(viewed.cpu(), expected)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    floats = Normalizer(mean, std, "cuda")(viewed).cpu()
    assert (floats - normalise(expected, mean, std)).abs().max() < 1e-6


@pytest.mark.parametrize("augmentation", [Augmentation(2, True), Augmentation(1, False)])
def test_every_image_of_a_view_is_seen_under_one_of_finitely_many(
    augmentation: Augmentation,
) -> None:
    images = torch.randint(0, 256, (40, 8, 8, 3), dtype=torch.uint8)
    draws = view_draws(3, 7, 40, augmentation)
    seen = apply_view(images, draws)
    numbers = cells(draws)
    assert 0 <= int(numbers.min()) < int(numbers.max()) < distinct_views(augmentation)
    for image, cell in enumerate(numbers.tolist()):
        same = apply_view(images[image : image + 1], draws_of_cell(cell, 1, augmentation))
        assert torch.equal(same[0], seen[image])


def test_all_cells_differ_and_there_are_no_others() -> None:
    augmentation = Augmentation(2, True)
    assert distinct_views(augmentation) == 50
    found = [cells(draws_of_cell(cell, 1, augmentation)).item() for cell in range(50)]
    assert found == list(range(50))
    with pytest.raises(ValueError, match="no view 50 of 50"):
        draws_of_cell(50, 1, augmentation)
