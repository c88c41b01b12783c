"""What a card says of the study, the trial and its teacher; of a file that was never written."""

import re
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from analysis.formatting import milliseconds
from analysis.record import StudyResults, read_record
from search_spaces.catalogue import load_space
from search_spaces.space import SearchSpace
from study.distillation.export_check import Agreement
from study.exporting.card import card_text
from study.exporting.evidence import Evidence
from study.exporting.exporting import Asked, Exported
from study.exporting.source import Images

SAMPLE = Path(__file__).parents[1] / "analysis" / "sample_record.py"
CLASSES = ["cat", "dog", "bird"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    """A study of one trial, confirmed."""
    made = SimpleNamespace(**runpy.run_path(str(SAMPLE)))
    trials = [made.trial(made.params(), accuracy=81.0, ratio=3.0)]
    made.confirm_front(trials)
    plan = made.plan(name="small")
    plan["data"] |= {"classes": CLASSES}
    folder = tmp_path_factory.mktemp("studies") / "small"
    return read_record(made.write_record(folder, trials, plan_content=plan))


def card(results: StudyResults, space: SearchSpace | None = None, **changes: Any) -> str:
    """The card of the trial, changed."""
    evidence = Evidence(
        Agreement(512, 1e-6, 9.0, 1.0, True),
        "512 images",
        True,
        (),
        "ONNX Runtime",
        "cpu",
        1,
        None,
        2,
    )
    asked = Asked(replace(results.trials[0], **changes), "onnx", "uint8", "x_to_y", Path())
    file = Path("small-t0000.onnx")
    made = Exported(file, file.with_suffix(".md"), "0" * 64, 1000, False, "1" * 64, evidence, None)
    images = Images(None, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), "none")
    return card_text(results, space or load_space("cifar_blocks"), asked, images, made)


@pytest.mark.parametrize(
    ("runtime", "words"),
    [("eager", "PyTorch"), ("compiled", "torch.compile"), ("onnx", "ONNX Runtime")],
)
def test_a_card_names_the_runtime_of_the_study(
    results: StudyResults, runtime: str, words: str
) -> None:
    confirmed = results.trials[0].confirmed
    assert confirmed is not None
    timed = replace(confirmed.latency, runtime=runtime, folded=True, clock="cpu")

    text = card(results, confirmed=replace(confirmed, latency=timed))

    (line,) = [line for line in text.splitlines() if line.startswith("In the study: ")]
    assert f" as fast, in {words}, batch norms folded, by the thread's own " in line
    # The latency of table and front, not the median of passes that the machine's pace is in.
    assert results.trials[0].latency_ms is not None
    assert f"{milliseconds(results.trials[0].latency_ms)} an image" in line
    assert "eager" not in line


@pytest.mark.parametrize("classes", [[f"c{n}" for n in range(100)], ["<img src=x>", "a|b"]])
def test_a_card_names_every_class_in_the_order_of_the_logits(
    results: StudyResults, classes: list[str]
) -> None:
    data = replace(results.plan.data, classes=tuple(classes))

    text = card(replace(results, plan=replace(results.plan, data=data)))

    rows = [line.split(" | ") for line in text.splitlines() if re.match(r"\| \d+ \| ", line)]
    assert [row[0].strip("| ") for row in rows] == [str(n) for n in range(len(classes))]
    if classes[0] == "c0":
        assert [row[1].strip("| ") for row in rows] == classes
    assert "<img" not in text.replace("\\<", "")


@pytest.mark.parametrize(
    ("share", "per_class", "words"),
    [
        (1.0, None, "45,000 images of"),
        (0.1, None, "about 5,000 images (a share of 0.1 of each class) of"),
        (0.95, None, "about 45,000 images (a share of 0.95 of each class) of"),
        (0.1, 50, "about 15 images (a share of 0.1 of each class) of"),
        (0.1, 5, "about 6 images (a share of 0.1 of each class) of"),
    ],
)
def test_a_card_counts_the_images_of_a_reduced_share(
    results: StudyResults, share: float, per_class: int | None, words: str
) -> None:
    plan = results.plan
    if per_class is not None:
        data = replace(plan.data, student_train=per_class * len(CLASSES))
        plan = replace(plan, plan={**plan.plan, "train_per_class": per_class}, data=data)

    text = card(
        replace(results, plan=plan), params={**results.trials[0].params, "train_share": share}
    )

    assert f"30\u00a0epochs on {words} image folder cifar10" in text


@pytest.mark.parametrize(
    ("subclasses", "words"),
    [
        (None, "taught by ResNet-50 [3,4,6,3];"),
        (2, "taught by ResNet-50 [3,4,6,3];"),
        (5, "taught by a variant of ResNet-50 [3,4,6,3], the one for subclasses 5;"),
    ],
)
def test_a_card_names_who_taught_the_trial(
    results: StudyResults, subclasses: int | None, words: str
) -> None:
    space = load_space("mnist_subclass")
    params = dict(results.trials[0].params)
    if subclasses is not None:
        params["subclasses"] = subclasses

    assert words in card(results, space, params=params)


@pytest.mark.parametrize(
    ("spec", "changed", "words"),
    [
        ("cifar_self", {"method": "self"}, "3 classes), taught by its own deepest exit;"),
        ("cifar_blocks", {"alpha": 0.0}, "by their labels alone;"),
        ("pairs_autoencoder", {"connections": "1-4"}, "with connections: 1-4;"),
    ],
)
def test_a_card_names_no_teacher_who_was_not_asked(
    results: StudyResults, spec: str, changed: dict[str, Any], words: str
) -> None:
    space = load_space(spec)
    if spec == "pairs_autoencoder":
        plan = replace(results.plan, space=replace(results.plan.space, data_kind="pairs"))
        results = replace(results, plan=plan)

    text = card(results, space, params={**results.trials[0].params, **changed})

    assert words in text
    assert "taught by ResNet" not in text
