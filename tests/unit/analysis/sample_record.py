"""Writes sample records the way a study does: plan.json and a real Optuna journal.

Loaded by path (`runpy.run_path`), since test folders are not packages.
"""

import itertools
import json
import math
import random
import tempfile
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

optuna.logging.set_verbosity(optuna.logging.WARNING)

TEACHER_MS = 24.6
CHANCE = 10.0
START = datetime(2025, 3, 4, 9, 0, 0, tzinfo=UTC)

DISTRIBUTIONS = {
    **{f"blocks_{i}": IntDistribution(0, 2) for i in (1, 2, 3, 4)},
    "stem_stride": CategoricalDistribution((1, 2, 4)),
    "terms": CategoricalDistribution(("weighted", "ce+kl", "ce")),
    "temperature": FloatDistribution(1.0, 20.0, log=True),
    "alpha": FloatDistribution(0.1, 0.95),
    "learning_rate": FloatDistribution(0.005, 0.2, log=True),
    "schedule": CategoricalDistribution(("onecycle", "cosine")),
    "batch_size": CategoricalDistribution((64, 128)),
    "train_share": CategoricalDistribution((0.1, 1.0)),
}

PAPER = [  # label, blocks, stride, distilled, share, (accuracy, seconds, ratio)
    ("Baseline", (2, 2, 2, 2), 1, True, 1.0, (79.3, 400, 6.58)),
    ("[1,1,1,1]", (1, 1, 1, 1), 1, True, 1.0, (79.1, 275, 8.53)),
    ("[2,2,0,0]", (2, 2, 0, 0), 1, True, 1.0, (78.6, 370, 7.81)),
    ("[1,1,0,0]", (1, 1, 0, 0), 1, True, 1.0, (79.4, 340, 9.85)),
    ("[1,1,1,1], stride 2", (1, 1, 1, 1), 2, True, 1.0, (77.6, 280, 11.60)),
    ("[1,1,1,1], stride 4", (1, 1, 1, 1), 4, True, 1.0, (79.9, 405, 9.94)),
    ("Ideal, no KD loss", (1, 1, 1, 1), 2, False, 1.0, (75.8, 330, 10.84)),
    ("Ideal, reduced train set", (1, 1, 1, 1), 2, True, 0.1, (61.2, 60, 10.33)),
    ("Ideal, reduced, no KD loss", (1, 1, 1, 1), 2, False, 0.1, (56.0, 60, 9.79)),
]


def timing(median):
    return {"median": median, "p95": median * 1.15}


def latency(ratio, *, idle=False, teacher_ms=TEACHER_MS):
    """Latency JSON of a student `ratio` times as fast as the teacher."""
    return {
        "device": "cpu (AMD EPYC 7B13)",
        "threads": 1,
        "precision": "float32",
        "idle": idle,
        "repeats": 41,
        "batch_1_ms": timing(teacher_ms / ratio),
        "batch_64_ms": timing(teacher_ms / ratio * 31),
        "teacher_batch_1_ms": timing(teacher_ms),
        "teacher_batch_64_ms": timing(teacher_ms * 38),
        "ratio_batch_1": {"median": ratio, "low": ratio * 0.96, "high": ratio * 1.03},
        "ratio_batch_64": {"median": ratio * 1.22, "low": ratio * 1.2, "high": ratio * 1.25},
    }


def teacher(**changes):
    base = {
        "key": "6f1d0c2b9a8e7d65",
        "name": "ResNet-50 [3,4,6,3]",
        "params_m": 23.52,
        "flops_m": 167.4,
        "val_score": 81.4,
        "test_score": 80.9,
        "train_seconds": 1840.0,
        "epochs": 30,
        "latency": {
            "batch_1_ms": timing(TEACHER_MS),
            "batch_64_ms": timing(TEACHER_MS * 38),
            "device": "cpu (AMD EPYC 7B13)",
            "threads": 1,
        },
        "source": "trained",
    }
    return {**base, **changes}


def plan(name="pareto-demo", *, published=True, **changes):
    """Content of plan.json."""
    asked = {
        "name": name, "space": "cifar_blocks", "data": "cifar10", "data_dir": None,
        "image_size": None, "train_per_class": None, "preset": "paper", "fixed": {},
        "teacher": None, "teacher_weights": "none", "teacher_epochs": None,
        "teacher_outputs": "ahead", "views": 8, "trials": 48, "max_epochs": 30,
        "budget_seconds": 7200.0, "sampler": "tpe", "scheduler": "pareto", "seed": 0,
        "max_latency_ms": 12.0, "max_params_m": None, "precision": "auto", "concurrent": None,
        "cpus_per_trial": 1, "gpus_per_trial": 0.0, "retries": 1, "max_failures": 0.5,
        "storage": None, "tracking_uri": None, "address": None, "objectives": ["score", "latency"],
        **changes,
    }  # fmt: skip
    table = {
        "source": "Gupta et al.: Exploring Knowledge Distillation",
        "note": None,
        "columns": [
            {"key": "score", "label": "accuracy", "unit": "%"},
            {"key": "train_seconds", "label": "training", "unit": "s"},
            {"key": "time_ratio", "label": "inference-time ratio", "unit": "x"},
        ],
        "rows": [
            {
                "label": label,
                "values": dict(zip(("score", "train_seconds", "time_ratio"), row, strict=True)),
                "note": "A tenth of the training images." if share < 1 else None,
            }
            for label, _, _, _, share, row in PAPER
        ],
    }
    return {
        "format": 2,
        "name": name,
        "created_at": START.isoformat(),
        "hash": "0d4b7c9a1f2e3d4c",
        "plan": asked,
        "space": {
            "name": "cifar_blocks",
            "title": "Residual students, blocks per stage",
            "description": "A ResNet-50 teaches residual networks of zero to two basic blocks.",
            "hash": "a1b2c3d4e5f60718",
            "parameters": [_parameter(name) for name in DISTRIBUTIONS],
            "score": {"name": "accuracy", "unit": "%", "best": 100.0},
            "taught": True,
            "objectives": [
                {
                    "key": "val_score",
                    "label": "validation accuracy",
                    "unit": "%",
                    "direction": "maximize",
                },
                {
                    "key": "latency_ms",
                    "label": "latency (batch 1)",
                    "unit": "ms",
                    "direction": "minimize",
                },
            ],
            "control": {"terms": "ce"},
            "published": table if published else None,
        },
        "data": {
            "name": "cifar10",
            "classes": [f"class {number}" for number in range(10)],
            "train": 45_000,
            "validation": 5_000,
            "test": 10_000,
            "student_train": 45_000,
            "shape": [32, 32, 3],
            "hash": "77aa33c0ffee1234",
            "source": "image folder cifar10",
            "floor_score": CHANCE,
        },
    }


def _parameter(name):
    kinds = {"temperature": ("weighted", "ce+kl"), "alpha": ("weighted",)}
    when = {"parameter": "terms", "values": kinds[name]} if name in kinds else None
    distribution = DISTRIBUTIONS[name]
    common = {
        "name": name,
        "architecture": name.startswith("blocks") or name == "stem_stride",
        "help": name.replace("_", " "),
        "when": when,
    }
    if isinstance(distribution, CategoricalDistribution):
        return {**common, "kind": "choice", "choices": list(distribution.choices)}
    kind = "int" if isinstance(distribution, IntDistribution) else "real"
    bounds = {"low": distribution.low, "high": distribution.high, "log": distribution.log}
    return {**common, "kind": kind, **bounds}


def params(
    blocks=(1, 1, 1, 1), stride=2, terms="ce+kl", temperature=1.0, alpha=None,
    learning_rate=0.05, schedule="onecycle", batch_size=64, share=1.0,
):  # fmt: skip
    """Parameters of one student; those that do not apply are left out."""
    values = {f"blocks_{i}": count for i, count in enumerate(blocks, start=1)}
    values |= {"stem_stride": stride, "terms": terms}
    if terms != "ce":
        values["temperature"] = temperature
    if terms == "weighted":
        values["alpha"] = 0.5 if alpha is None else alpha
    return values | {
        "learning_rate": learning_rate,
        "schedule": schedule,
        "batch_size": batch_size,
        "train_share": share,
    }


def architecture(values):
    blocks = ",".join(str(values[f"blocks_{i}"]) for i in (1, 2, 3, 4))
    return f"[{blocks}] stride {values['stem_stride']}"


def curve(final, epochs, *, seconds=9.2, seed=0, until=None):
    """Epoch JSONs of a run towards `final` percent over `epochs`, cut after `until`."""
    noise = random.Random(seed)
    rows = []
    for epoch in range(1, (until or epochs) + 1):
        done = epoch / epochs
        reached = CHANCE + (final - CHANCE) * (1 - math.exp(-4.2 * done)) / (1 - math.exp(-4.2))
        wobble = noise.gauss(0, 1.6) * (1 - done)
        rows.append(
            {
                "epoch": epoch,
                "train_loss": round(2.3 * math.exp(-2.2 * done) + 0.2, 5),
                "val_loss": round(2.2 * math.exp(-1.8 * done) + 0.35, 5),
                "val_score": round(reached + wobble, 2),
                "learning_rate": round(0.05 * (1 + math.cos(math.pi * done)) / 2, 6),
                "seconds": round(seconds + noise.random(), 3),
            }
        )
    return rows


def trial(
    values, *, accuracy=None, ratio=None, status="complete", reason=None, epochs=30, done=None,
    label=None, source="sampler", confirmed=None, start=0.0, seed=0, rung=None,
):  # fmt: skip
    """One trial as `write_record` takes it; `confirmed` is (test accuracy, idle ratio).

    `status` None stands for a trial that runs: its curve goes up to `done`, there is no outcome.
    """
    attributes = {
        "source": source,
        "label": label,
        "architecture": architecture(values),
        "epochs": epochs,
        "started_at": (START + timedelta(seconds=start)).isoformat(),
    }
    if ratio is not None:
        size = 0.4 + 2.9 * sum(values[f"blocks_{i}"] * 2 ** (i - 3) for i in (1, 2, 3, 4))
        attributes["model"] = {
            "params_m": size,
            "flops_m": 38.0 * size / values["stem_stride"],
            "bytes": int(size * 4e6),
        }
        attributes["latency"] = latency(ratio)
    rows = []
    if accuracy is not None:
        rows = curve(accuracy, epochs, seed=seed, until=done)
        if status == "complete":
            rows[-1]["val_score"] = accuracy
        attributes |= {f"epoch:{row['epoch']:04d}": row for row in rows}
    seconds = round(sum(row["seconds"] for row in rows), 3)
    values_told = None
    if status is not None:
        told = status in ("complete", "stopped")
        attributes["outcome"] = {
            "status": status,
            "reason": reason,
            "epochs_done": len(rows),
            "val_score": rows[-1]["val_score"] if rows else None,
            "latency_ms": None if ratio is None else TEACHER_MS / ratio,
            "train_seconds": seconds,
            "finished_at": (START + timedelta(seconds=start + seconds)).isoformat(),
            "rung": rung,
        }
        if told:
            values_told = [rows[-1]["val_score"], TEACHER_MS / ratio]
    if confirmed is not None:
        test_score, idle_ratio = confirmed
        attributes["confirmed"] = {
            "test_score": test_score,
            "latency": latency(idle_ratio, idle=True),
        }
    return {"params": values, "attributes": attributes, "values": values_told, "status": status}


def write_record(
    folder, trials=(), *, plan_content=None, teacher_content=None, sessions=None,
    with_teacher=True, tie_test=None,
):  # fmt: skip
    """Writes a study's folder, journal and plan, one journal entry after another."""
    content = plan_content or plan()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(content, indent=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(
            study_name=content["name"],
            storage=JournalStorage(JournalFileBackend(str(folder / "journal.log"))),
            directions=["maximize", "minimize"],
        )
        if with_teacher:
            stored = teacher_content or teacher()
            study.set_user_attr("teacher", stored)
            idle = stored["latency"]["batch_1_ms"]["median"]
            study.set_user_attr(
                "reference_point", {"val_score": CHANCE, "latency_ms": idle, "best_score": 100.0}
            )
        if tie_test is not None:
            study.set_user_attr("tie_test", tie_test)
        study.set_user_attr(
            "environment",
            {
                "python": "3.11.9", "torch": "2.15.0", "ray": "2.60.0", "optuna": "5.0.0",
                "cpu": "AMD EPYC 7B13", "gpu": None, "cores": 8, "platform": "Linux-6.1-x86_64",
            },
        )  # fmt: skip
        for number, item in enumerate(trials):
            attributes = dict(item["attributes"])
            confirmed = attributes.pop("confirmed", None)
            told = {"complete": TrialState.COMPLETE, "stopped": TrialState.COMPLETE}
            study.add_trial(
                create_trial(
                    state=told.get(item["status"], TrialState.FAIL)
                    if item["status"]
                    else TrialState.RUNNING,
                    values=item["values"],
                    params=item["params"],
                    distributions={name: DISTRIBUTIONS[name] for name in item["params"]},
                    user_attrs=attributes,
                )
            )
            if confirmed is not None:  # Optuna takes no attribute of a trial that has ended
                study.set_user_attr(f"confirmed:{number:04d}", confirmed)
        study.set_user_attr("sessions", sessions if sessions is not None else SESSIONS)
    return folder


SESSIONS = [
    {"started_at": START.isoformat(), "seconds": 4110.0, "end": "SIGINT"},
    {"started_at": (START + timedelta(hours=3)).isoformat(), "seconds": 2640.5, "end": "complete"},
]


def _speed(values):
    """A plausible ratio teacher/student."""
    depth = sum(values[f"blocks_{i}"] for i in (1, 2, 3, 4))
    return 1.35 + 10.2 / (1.5 + depth * (1.9 if values["stem_stride"] == 1 else 1.0))


def _accuracy(values):
    """A plausible final validation accuracy."""
    depth = sum(values[f"blocks_{i}"] for i in (1, 2, 3, 4))
    base = 63 + 17 * (1 - math.exp(-depth / 2.6)) + {1: 2.2, 2: 0.8, 4: -2.5}[values["stem_stride"]]
    base -= 1.5 * abs(math.log10(values["learning_rate"] / 0.06))
    base -= 16 if values["train_share"] < 1 else 0
    return base + {"ce": -2.1, "ce+kl": 0.0, "weighted": 0.4}[values["terms"]]


def paper_trials():
    """The published rows as preset and control trials, all complete and confirmed."""
    rows = []
    for number, (label, blocks, stride, distilled, share, _) in enumerate(PAPER):
        values = params(blocks, stride, "ce+kl" if distilled else "ce", share=share)
        accuracy, ratio = round(_accuracy(values), 2), _speed(values)
        rows.append(
            trial(
                values,
                accuracy=accuracy,
                ratio=ratio,
                label=label,
                source="preset" if distilled else "control",
                confirmed=(round(accuracy - 0.6, 2), ratio * 1.01),
                start=number * 280.0,
                seed=number,
            )
        )
    return rows


def sampled_trials(count, *, epochs=30, seed=1):
    """Sampler trials of every status."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        values = params(
            blocks=(draw.randint(1, 2), *(draw.randint(0, 2) for _ in range(3))),
            stride=draw.choice((1, 2, 4)),
            terms=draw.choice(("weighted", "weighted", "ce+kl", "ce")),
            temperature=round(math.exp(draw.uniform(0, 2.9)), 4),
            alpha=round(draw.uniform(0.1, 0.95), 4),
            learning_rate=round(10 ** draw.uniform(-2.3, -0.7), 5),
            schedule=draw.choice(("onecycle", "cosine")),
            batch_size=draw.choice((64, 128)),
        )
        ratio = _speed(values) * draw.uniform(0.98, 1.02)
        common = {
            "accuracy": round(_accuracy(values) + draw.gauss(0, 0.5), 2),
            "ratio": ratio,
            "epochs": epochs,
            "start": 2600.0 + number * 110,
            "seed": 100 + number,
        }
        fate = draw.random()
        if fate < 0.34:
            done = draw.choice([r for r in (1, 3, 9) if r < epochs] or [1])
            rows.append(
                trial(values, **common, status="stopped", done=done, rung=done,
                      reason=f"dominated at rung {done}")
            )  # fmt: skip
        elif fate < 0.40:
            rows.append(
                trial(values, ratio=ratio, status="infeasible", epochs=epochs,
                      start=common["start"], reason="latency 13.1 ms is above --max-latency 12 ms")
            )  # fmt: skip
        elif fate < 0.45:
            failed = {**common, "accuracy": common["accuracy"] - 30}
            rows.append(
                trial(values, **failed, status="failed", done=2,
                      reason="loss is not finite at epoch 3, step 41, learning rate 0.19")
            )  # fmt: skip
        else:
            rows.append(trial(values, **common))
    return rows


def control_of(item, *, seed=900):
    """The undistilled twin of a sampled trial, run as a control."""
    values = {
        name: value
        for name, value in item["params"].items()
        if name not in ("temperature", "alpha")
    } | {"terms": "ce"}
    told = item["attributes"]["outcome"]
    return trial(
        values,
        accuracy=round(told["val_score"] - 1.7, 2),
        ratio=TEACHER_MS / told["latency_ms"],
        source="control",
        label=f"control of {item['attributes']['architecture']}",
        start=6300.0,
        seed=seed,
    )


def realistic_trials():
    """48 trials: presets, controls, sampled ones of every fate, two that still run."""
    sampled = sampled_trials(35)
    best = [item for item in sampled if item["status"] == "complete"]
    best = sorted(best, key=lambda item: -item["values"][0])[:2]
    running = [
        trial(params((2, 1, 1, 0), 2), accuracy=79.0, ratio=2.9, status=None, done=14, seed=77),
        trial(params((1, 0, 1, 1), 2), status=None, seed=78),
    ]
    return [*paper_trials(), *sampled, *(control_of(item) for item in best), *running]


def realistic(folder):
    """The record of a study of 48 trials of every fate."""
    trials = realistic_trials()
    confirm_front(trials)
    return write_record(folder, trials)


def undistilled(item, member, *, start):
    """The control of a front member, trained after the search for its sake."""
    twin = control_of(item)
    accuracy = round(_accuracy(twin["params"]) + random.Random(member).gauss(0, 0.6), 2)
    twin = trial(
        twin["params"],
        accuracy=accuracy,
        ratio=TEACHER_MS / item["attributes"]["outcome"]["latency_ms"],
        source="control",
        start=start,
        seed=member,
    )
    twin["attributes"]["control_of"] = member
    return twin


def replicate_of(item, first, run, *, start):
    """One more run of a trial, whose score falls around what its student is worth."""
    draw = random.Random(1000 * first + run)
    accuracy = round(_accuracy(item["params"]) + draw.gauss(0, 0.6), 2)
    ratio = TEACHER_MS / item["attributes"]["outcome"]["latency_ms"]
    test = round(accuracy - 0.6 + draw.gauss(0, 0.3), 2)
    again = trial(
        item["params"],
        accuracy=accuracy,
        ratio=ratio,
        source="replicate",
        confirmed=(test, ratio * 1.004),
        start=start,
        seed=first + 7 * run,
    )
    again["attributes"]["replicate"] = [first, run]
    return again


def replicated(folder, *, runs=3):
    """The realistic study, its front, rivals and controls trained again under further seeds."""
    from analysis.record import read_record
    from analysis.replication import missing_controls, wanted_runs

    trials = realistic_trials()
    asked = plan(replicates=runs)
    with tempfile.TemporaryDirectory() as drafts:
        for draft in itertools.count():
            confirm_front(trials)
            results = read_record(
                write_record(Path(drafts) / f"{draft}", trials, plan_content=asked)
            )
            space = results.plan.space
            missing = missing_controls(results.trials, space, space.third)
            wanted = wanted_runs(results.trials, space, space.third, runs)
            start = 12_000.0 + 300 * len(trials)
            trials += [undistilled(trials[number], number, start=start) for number in missing]
            trials += [replicate_of(trials[n], n, run, start=start) for n, run in wanted]
            if not missing and not wanted:
                return write_record(folder, trials, plan_content=asked)


def confirm_front(trials):
    """Adds test accuracy and idle latency to front members, presets and controls."""
    complete = [item for item in trials if item["status"] == "complete"]
    for item in complete:
        if item["attributes"]["source"] == "replicate":
            continue
        accuracy, latency_ms = item["values"]
        beaten = any(
            other["values"][0] >= accuracy
            and other["values"][1] <= latency_ms
            and other["values"] != item["values"]
            for other in complete
        )
        if not beaten or item["attributes"]["source"] != "sampler":
            item["attributes"].setdefault(
                "confirmed",
                {
                    "test_score": round(accuracy - 0.5, 2),
                    "latency": latency(TEACHER_MS / latency_ms * 1.004, idle=True),
                },
            )


def large(folder, count, *, epochs=30):
    """A finished study of `count` trials."""
    trials = [*paper_trials(), *sampled_trials(count - len(PAPER), epochs=epochs)]
    confirm_front(trials)
    return write_record(folder, trials, plan_content=plan(trials=count, max_epochs=epochs))
