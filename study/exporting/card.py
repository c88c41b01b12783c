"""The model card of an exported student: what it is, how good and how fast, how to load it."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from analysis.export import markdown_table
from analysis.formatting import counted, milliseconds, number, score_text, significant, times
from analysis.formatting import value as shown
from analysis.front import is_distilled, taught_by_itself
from analysis.record import StudyResults
from analysis.results import TrialResult
from analysis.timing_notes import runtime_of
from search_spaces.space import SearchSpace
from study import __version__
from study.exporting.exporting import Asked, Exported, about
from study.exporting.source import Images, direction_in_words

_NAMED_IN_A_LINE = 20
_PLAIN_NAME = re.compile(r"[^\W_]([\w .-]*[^\W_])?")  # which Markdown shows as it is
_PACKAGES = {
    "onnx": ("torch", "onnx", "onnxscript", "onnxruntime"),
    "pt2": ("torch",),
    "torchscript": ("torch",),
}


def card_text(
    results: StudyResults, space: SearchSpace, asked: Asked, images: Images, exported: Exported
) -> str:
    """Return the card in Markdown."""
    yardstick = results.plan.space.yardstick
    parts = (
        f"# {exported.file.name}\n",
        _what(results, space, asked, exported),
        f"## Load it\n\n```python\n{loading(results, asked, exported)}```\n",
        f"## Input and output\n\n{_interface(results, asked, images)}",
        f"## How good\n\n{_scores(results, asked.trial)}",
        f"## How fast and how large\n\n{_speed(asked.trial, exported, yardstick)}",
        f"## Whether this file is that student\n\n{_agreement(exported)}",
        f"## How it was trained\n\n{_training(results, asked.trial)}",
        f"## Limits\n\n{''.join(f'- {line}{chr(10)}' for line in _limits(results, exported))}",
        "## Licence\n\n(To be filled in before it is passed on: the data and the teacher have "
        "licences of their own.)\n",
        f"## Provenance\n\n{_provenance(results, asked, exported)}",
    )
    return "\n".join(parts)


def loading(results: StudyResults, asked: Asked, exported: Exported) -> str:
    """Return five lines of Python that load the file and ask it."""
    height, width, channels = results.plan.data.shape
    name, kind = exported.file.name, asked.takes
    shape = f"1, {channels}, {height}, {width}"
    if asked.form == "onnx":
        return (
            "import numpy as np\nimport onnxruntime\n"
            f'session = onnxruntime.InferenceSession("{name}")\n'
            f"images = np.zeros(({shape}), np.{kind})\n"
            'answer = session.run(None, {"images": images})[0]\n'
        )
    opened = (
        f'student = torch.export.load("{name}").module()\n'
        if asked.form == "pt2"
        else f'student = torch.jit.load("{name}")\n'
    )
    return (
        f"import torch\n{opened}images = torch.zeros({shape}, dtype=torch.{kind})\n"
        "with torch.inference_mode():\n    answer = student(images)\n"
    )


def _what(results: StudyResults, space: SearchSpace, asked: Asked, exported: Exported) -> str:
    plan, trial = results.plan, asked.trial
    taught = _how_taught(results, space, trial)
    eight = " Its weights are integers of eight bits." if exported.quantised else ""
    task = "an image to an image" if plan.space.of_pairs else f"{len(plan.data.classes)} classes"
    return (
        f"A student network, `{trial.architecture}`, trained on {plan.data.name} ({task}){taught}; "
        f"trial {trial.name} of the study {plan.name}.{eight}\n"
    )


def _how_taught(results: StudyResults, space: SearchSpace, trial: TrialResult) -> str:
    """Say who taught a trial, after a comma; nothing where nobody teaches anybody."""
    if taught_by_itself(trial):
        return ", taught by its own deepest exit"
    if results.plan.space.of_pairs:
        connections = trial.params.get("connections")
        return "" if connections is None else f", with connections: {shown(connections)}"
    if results.teacher is not None and is_distilled(trial, results.plan.space):
        return f", taught by {_teacher(results.teacher.name, space, trial)}"
    return ", by their labels alone" if space.taught else ""


def _teacher(name: str, space: SearchSpace, trial: TrialResult) -> str:
    """Say who taught a trial: the study's teacher, or one that differs from it in a parameter."""
    varied = space.teacher_varies_with
    value = None if varied is None else trial.params.get(varied)
    if varied is None or value in (None, space.parameter(varied).default):
        return name
    return f"a variant of {name}, the one for {varied} {shown(value)}"


def _interface(results: StudyResults, asked: Asked, images: Images) -> str:
    height, width, channels = results.plan.data.shape
    scale = "0 to 255, as decoded" if asked.takes == "uint8" else "0 to 1"
    mean, std = (", ".join(number(v, 4) for v in values) for values in (images.mean, images.std))
    lines = [
        f"- In: `images`, {asked.takes}, `(batch, {channels}, {height}, {width})`, values {scale}; "
        f"batches of any size. {'RGB' if channels == 3 else 'Grey'}.",
        f"- Inside: the normalisation with mean ({mean}) and deviation ({std}) of each channel, "
        "on the scale 0 to 1.",
    ]
    if results.plan.space.of_pairs:
        way = direction_in_words(asked.direction)
        lines.append(
            f"- Out: `translated`, float32, `(batch, {channels}, {height}, {width})`, 0 to 1: "
            f"{way}."
        )
    else:
        classes = results.plan.data.classes
        lines.append(f"- Out: `logits`, float32, `(batch, {len(classes)})`, {_order(classes)}")
    return "\n".join(lines) + "\n"


def _order(classes: Sequence[str]) -> str:
    """Name every class in the order of the logits: in a line, or where that is long in a table."""
    if len(classes) <= _NAMED_IN_A_LINE and all(_PLAIN_NAME.fullmatch(name) for name in classes):
        return f"in the order: {', '.join(classes)}."
    return f"one for each class:\n\n{markdown_table(['logit', 'class'], enumerate(classes))}"


def _scores(results: StudyResults, trial: TrialResult) -> str:
    score, data = results.plan.space.score, results.plan.data
    tested = trial.confirmed
    rows = [
        ["validation", data.validation, score_text(trial.val_score, score.unit, 2)],
        ["test", data.test, score_text(trial.test_score, score.unit, 2)],
    ]
    teacher = results.teacher
    head = ["split", "images", f"{score.title}"]
    if teacher is not None:
        head.append("teacher")
        rows[0].append(score_text(teacher.val_score, score.unit, 2))
        rows[1].append(score_text(teacher.test_score, score.unit, 2))
    text = markdown_table(head, rows)
    if tested is None:
        text += "\nIt was not scored on the test split.\n"
    for each in (tested.figures if tested else None) or ():
        text += f"\n{each.label}, test: {score_text(each.value, each.unit, 3)}\n"
    seed = results.plan.plan.get("seed")
    scored = "" if tested is None else "; the test split was scored once, afterwards"
    return (
        text + f"\nSeed {seed}, run {trial.run} of this configuration. The study chose by the "
        f"validation split{scored}.\n"
    )


def _speed(trial: TrialResult, exported: Exported, yardstick: str) -> str:
    evidence = exported.evidence
    rows = [
        [
            str(each.batch),
            milliseconds(each.file_ms.median),
            milliseconds(each.eager_ms.median),
            f"{times(each.ratio.median)} ({times(each.ratio.low)} to {times(each.ratio.high)})",
            str(each.repeats),
        ]
        for each in evidence.timings
    ]
    head = ["batch", evidence.runtime, "eager torch", "faster (95 %)", "turns"]
    busy = (
        ""
        if evidence.load is None
        else (
            f" Meanwhile {evidence.load:g} processes wanted to run on {evidence.cpus} CPUs, these "
            "included: where there are more than CPUs, believe the ratio, not the milliseconds."
        )
    )
    model = trial.model
    size = f"The file has {exported.bytes:,} bytes"
    if model is not None:
        size += (
            f"; the network {significant(model.params_m)} M parameters, and an image takes "
            f"{significant(model.flops_m)} M FLOPs (a multiply-accumulate counts as two)"
        )
    text = (
        f"{markdown_table(head, rows)}\nFrom pixels to answers, a pass of the whole batch, "
        "medians over turns in alternation, the ratio of their lower quartiles; "
        f"{evidence.threads} {'thread' if evidence.threads == 1 else 'threads'} each, "
        f"on {evidence.device}.{busy}\n"
    )
    latency = trial.best_latency
    if latency is not None:
        idle = "idle" if latency.idle else "busy"
        text += (
            f"\nIn the study: {milliseconds(trial.latency_ms)} an image at batch 1, "
            f"{times(latency.ratio_batch_1.median)} as fast as the {yardstick}, and at batch 64 "
            f"{times(latency.ratio_batch_64.median)} as fast, {runtime_of(latency)}, on "
            f"{latency.device}, {counted(latency.threads, 'thread')}, {idle}.\n"
        )
    return f"{text}\n{size}.\n"


def _agreement(exported: Exported) -> str:
    evidence = exported.evidence
    found = evidence.agreement
    same = (
        f" The first class is the same for {100 * found.same_class:.2f} % of them."
        if found.same_class is not None
        else ""
    )
    text = (
        f"Asked {evidence.checked_on}: the largest difference to the student's answers is "
        f"{found.largest_difference:.2g}, where those reach {found.largest_answer:.3g}.{same}\n"
    )
    if exported.space_change is not None:
        text += (
            f"\nBut {exported.space_change}: the student is built as it says now, with the weights "
            "of then, and the file was compared with that.\n"
        )
    return text


def _training(results: StudyResults, trial: TrialResult) -> str:
    plan = results.plan
    known = {parameter.name: parameter for parameter in plan.space.parameters}
    rows = [
        [name, shown(value), (known[name].help or "") if name in known else ""]
        for name, value in trial.params.items()
    ]
    return (
        f"{markdown_table(['parameter', 'value', 'what it is'], rows)}\n"
        f"{counted(trial.epochs_done, 'epoch')} on {_learnt_from(results, trial)} of "
        f"{plan.data.source}, in the search space {plan.space.name}: {plan.space.title}.\n"
    )


def _learnt_from(results: StudyResults, trial: TrialResult) -> str:
    """Say how many images a student learnt from: all of the study's, or a share of each class.

    A share is of a class as it was before the validation split was held out. How many that are is
    not stored class by class, and rounded in each.
    """
    plan, data = results.plan, results.plan.data
    share = trial.params.get("train_share")
    chosen = {each.name for each in plan.space.parameters if each.kind == "choice"}
    if "train_share" not in chosen or not isinstance(share, float) or share >= 1:
        return f"{data.student_train:,} images"
    reduced = plan.plan.get("train_per_class") is not None
    whole = data.student_train if reduced else data.train + data.validation
    kept = min(data.student_train, max(2 * len(data.classes), round(share * whole)))
    return f"about {kept:,} images (a share of {share:g} of each class)"


def _limits(results: StudyResults, exported: Exported) -> Iterator[str]:
    data = results.plan.data
    height, width, _ = data.shape
    yield (
        f"It knows images like those of {data.name}, {height}x{width} pixels; on others it was "
        "never scored."
    )
    if not results.plan.space.of_pairs:
        yield "It names one of its classes for any image, also for one that shows none of them."
        yield "Its logits are not calibrated; their softmax is no probability of being right."
    if not exported.evidence.real_images:
        yield "It was checked on random images only: the data set was not at hand."
    if exported.quantised:
        yield (
            "Of int8 students every processor rounds a little differently; in pt2 the weights are "
            "integers and the arithmetic is float32, in ONNX the runtime chooses integer kernels."
        )


def _provenance(results: StudyResults, asked: Asked, exported: Exported) -> str:
    rows = [[key, text] for key, text in about(results, asked.trial).items() if key != "classes"]
    rows += [
        ["this file", f"sha256:{exported.sha256}"],
        ["weights in the study", f"sha256:{exported.weights_sha256}"],
        ["exported", datetime.now(UTC).isoformat(timespec="seconds")],
        ["distillation-study", __version__],
        *([name, _version(name)] for name in _PACKAGES[asked.form]),
    ]
    if results.teacher is not None:
        rows.append(["the study's teacher", f"{results.teacher.name}, key {results.teacher.key}"])
    return markdown_table(["", ""], rows)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
