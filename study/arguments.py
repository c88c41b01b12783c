"""The command line of `python -m study.launch`."""

import argparse
from typing import Any

from study.command_line import Parser
from study.distillation.teacher_recipe import NETWORKS

_EPILOG = """\
examples (the third trains a ResNet-50 first, hours on CPUs; --teacher-epochs 2 tries it out):
  # The quickstart: real digits, built in, a few minutes.
  python -m study.launch --space cifar_blocks --data digits --budget 5m --name quick

  # What would be done, how long it would take; nothing is written.
  python -m study.launch --space cifar_blocks --data digits --dry-run

  # The published rows first, on 500 images a class of CIFAR-10 as a folder of images.
  python -m study.launch --space cifar_blocks --data-dir data/cifar10 \\
      --train-per-class 500 --preset paper --trials 12 --max-epochs 5

  # Students that must answer within 3 ms, one object for a script at the end.
  python -m study.launch --space cifar_blocks --data digits --max-latency 3 --json --name fast

Give the same command again to continue a study that was interrupted (or: python -m study
resume NAME), or a larger --trials or --budget to extend it.

exit codes: 0 done; 1 the study failed or has no front; 2 usage; 3 finished, but too many
trials failed; 4 the study is locked by a live driver; 130/143 stopped by a signal, resumable
"""

# What may change between two runs of one study: how long and where, not what.
CHANGEABLE: dict[str, dict[str, Any]] = {
    "--trials": {
        "type": int,
        "metavar": "N",
        "help": "trials in all (default: the space's; see python -m study spaces NAME)",
    },
    "--budget": {
        "metavar": "30m|2h",
        "help": "wall time over all runs, the teacher's training included, after which trials "
        "stop; latency-first and pause neither begin nor go on with a trial that could not finish "
        "in it",
    },
    "--device-hours": {
        "type": float,
        "metavar": "H",
        "help": "hours that trials may hold GPUs (CPUs, where they use none), added up; spent as "
        "--budget is",
    },
    "--retries": {
        "type": int,
        "metavar": "N",
        "help": "go on from the last checkpoint when a worker dies, this often (default: 2)",
    },
    "--max-failures": {
        "type": float,
        "metavar": "F",
        "help": "end with exit code 3 when more than this share of trials fails (default: 0.5)",
    },
    "--replicates": {
        "type": int,
        "metavar": "N",
        "help": "runs in all, each under its own seed, of every student of the front and its "
        "control, and of those close behind the front (default: 1, and no run is added)",
    },
    "--fuse": {
        "metavar": "auto|always|never",
        "help": "train the replicates of one student as one: on a GPU, where a probe finds it "
        "faster; wherever it can be done; never (default: auto)",
    },
    "--timing-seconds": {
        "type": float,
        "metavar": "S",
        "help": "most seconds to time a student of the front on the idle device; less is enough "
        "once its ratio to the teacher is known to 3 %% (default: 6)",
    },
    "--concurrent": {
        "type": int,
        "metavar": "N",
        "help": "trials at once (default: as many as fit)",
    },
    "--data-dir": {"metavar": "DIR", "help": "where cifar10, mnist and mhist lie (default: data)"},
    "--tracking-uri": {
        "metavar": "URI",
        "help": "an MLflow: http://HOST:5000 or sqlite:///FILE.db; none for no tracking "
        "(default: mlflow.db in the studies folder)",
    },
    "--address": {
        "metavar": "HOST:PORT|auto|local",
        "help": "a running Ray cluster; local starts one on this machine alone (default: local)",
    },
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m study.launch`."""
    made = Parser(
        prog="python -m study.launch",
        description="Train many small students under one teacher in parallel, and report the "
        "front of their score (accuracy, say) against latency.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _what(made.add_argument_group("what is tried"))
    _data(made.add_argument_group("data and teacher"))
    _how_much(made.add_argument_group("how much"))
    _where(made.add_argument_group("where it runs and lies"))
    _shown(made.add_argument_group("what is shown"))
    return made


def _what(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--space",
        required=True,
        metavar="NAME|FILE.py|module:ATTR",
        help="search space: a built-in name (python -m study spaces), a file or a module",
    )
    group.add_argument("--name", help="study name (default: SPACE-DATA)")
    group.add_argument("--preset", help="try the configurations of this name first, e.g. paper")
    group.add_argument(
        "--fix",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="hold a parameter at one value; may be given more than once",
    )
    group.add_argument(
        "--sampler",
        metavar="latency-first|tpe|random",
        help="latency-first learns from every epoch of all trials and knows the latency of what it "
        "proposes, and its size where that is an objective, tpe is Optuna's, random draws blindly "
        "(default: latency-first; a study that exists keeps its own)",
    )
    group.add_argument(
        "--warm-start",
        metavar="STUDY|FOLDER|results.csv",
        help="have the sampler learn from the trials of another study too, by its name, its folder "
        "or the table of its report; what differs between the two studies is named, of which a "
        "table tells little",
    )
    group.add_argument(
        "--scheduler",
        metavar="pause|pareto|none",
        help="pause has trials wait at rungs and goes on with whichever promises most, pareto "
        "stops them early by Pareto rank, none trains all to the end (default: pause with "
        "latency-first, pareto with other samplers; a study that exists keeps its own)",
    )
    group.add_argument(
        "--objectives",
        default="score,latency",
        metavar="score,latency[,params|flops]",
        help="what the front is chosen by: the space's score (accuracy, say) and the latency, and "
        "on request the parameters or FLOPs too; the hypervolume stays that of score and latency "
        "(default: score,latency)",
    )
    group.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of initial weights, of the order, crops, flips and mixing of images and of "
        "dropout, of students and of a teacher that is trained, and of the sampler; the splits "
        "are no part of it: they are the same for all studies of a data set, "
        "so that their scores can be compared (default: 0)",
    )
    group.add_argument(
        "--max-latency",
        type=float,
        metavar="MS",
        help="refuse students that take more than MS milliseconds for one image",
    )
    group.add_argument(
        "--max-params",
        type=float,
        metavar="M",
        help="refuse students of more than M million parameters",
    )
    group.add_argument(
        "--min-accuracy",
        "--min-score",
        dest="min_score",
        type=float,
        metavar="X",
        help="keep students off the front that score less, fully trained, on the validation split "
        "(in the unit of the space's score: percent, or dB)",
    )


def _data(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--data",
        metavar="NAME|FOLDER",
        help="digits, cifar10, mnist, their halves digits2x5 and mnist2x5, mhist, or a folder with "
        "train/CLASS/* and test/CLASS/*; for pairs of images digit_pairs, or a folder with train/* "
        "and val/* or test/* (default: the space's own, or its preset's)",
    )
    group.add_argument("--data-dir", **CHANGEABLE["--data-dir"])
    group.add_argument("--image-size", type=int, metavar="PX", help="bring all images to this size")
    group.add_argument(
        "--train-per-class",
        type=int,
        metavar="N",
        help="students learn from the first N images of each class (the teacher from all)",
    )
    group.add_argument(
        "--teacher",
        metavar="FILE",
        help="a state dict of one's own: a ResNet as torchvision's, or one of --teacher-network",
    )
    group.add_argument(
        "--teacher-network",
        metavar="NAME",
        help=f"{', '.join(NETWORKS[:-1])} or {NETWORKS[-1]} (default: what the space declares, "
        "mostly resnet)",
    )
    group.add_argument(
        "--teacher-size",
        type=int,
        metavar="PX",
        help="side to which an inception enlarges its images, 75 or more; needed for images under "
        "75 px (default: as they are)",
    )
    group.add_argument(
        "--teacher-weights",
        metavar="none|imagenet",
        help="imagenet starts the teacher from torchvision's weights, none from random ones "
        "(default: what the space declares, mostly none)",
    )
    group.add_argument(
        "--teacher-statistics",
        metavar="data|imagenet",
        help="whose mean and deviation the teacher's images are normalised by; those that it was "
        "trained with (default: imagenet with --teacher-weights imagenet, else the data's own)",
    )
    group.add_argument(
        "--teacher-epochs",
        type=int,
        metavar="N",
        help="epochs of the teacher's training (default: the space's)",
    )
    group.add_argument(
        "--teacher-outputs",
        metavar="ahead|live",
        help="ahead computes the teacher's answers once for all trials, live asks it at every "
        "step (default: what the space declares, mostly ahead)",
    )
    group.add_argument(
        "--views",
        metavar="V|all",
        help="augmented views of the data, taken in turn; all draws a new one every epoch, and has "
        "the teacher answer every crop and flip there is, once (default: the space's, mostly 8; "
        "with GPUs, on a named data set, all)",
    )


def _how_much(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--max-epochs",
        type=int,
        metavar="N",
        help="epochs of a full training (default: the space's)",
    )
    for option in ("--trials", "--budget", "--device-hours"):
        group.add_argument(option, **CHANGEABLE[option])
    group.add_argument("--replicates", default=1, **CHANGEABLE["--replicates"])
    group.add_argument("--fuse", default="auto", **CHANGEABLE["--fuse"])
    group.add_argument("--retries", default=2, **CHANGEABLE["--retries"])
    group.add_argument("--max-failures", default=0.5, **CHANGEABLE["--max-failures"])
    group.add_argument("--timing-seconds", default=6.0, **CHANGEABLE["--timing-seconds"])


def _where(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--concurrent", **CHANGEABLE["--concurrent"])
    group.add_argument(
        "--cpus-per-trial",
        default="1",
        metavar="N",
        help="CPUs a trial, and threads of its latency; auto: as many as train the most images a "
        "second over all trials, measured as the study begins (default: 1)",
    )
    group.add_argument(
        "--gpus-per-trial", type=float, default=0.0, metavar="G", help="GPUs a trial (default: 0)"
    )
    group.add_argument(
        "--precision",
        default="auto",
        metavar="auto|float32|bfloat16",
        help="float32, bfloat16, or auto: bfloat16 where the hardware trains the space's default "
        "student faster with it "
        "(default: auto)",
    )
    group.add_argument(
        "--runtime",
        default="eager",
        metavar="eager|compiled|onnx",
        help="what will run the student, and runs both networks while latencies are taken: "
        "eager (PyTorch as it is), compiled (torch.compile) or onnx (ONNX Runtime) "
        "(default: eager)",
    )
    group.add_argument(
        "--studies",
        default="studies",
        metavar="DIR|s3://BUCKET/PREFIX",
        help="folder of studies, or an object store that holds it; the record is then in a "
        "PostgreSQL (default: studies)",
    )
    group.add_argument(
        "--storage", metavar="URL", help="database for the record (default: a journal file)"
    )
    group.add_argument("--tracking-uri", **CHANGEABLE["--tracking-uri"])
    group.add_argument("--address", **CHANGEABLE["--address"])
    group.add_argument(
        "--submit",
        metavar="URL",
        help="run the driver too on a cluster, by the Ray dashboard at URL (http://head:8265); "
        "paths are then the cluster's",
    )
    group.add_argument(
        "--device-kind",
        metavar="NAME",
        help="processor model, or name of the GPU, that all trials run on (default: the cluster's "
        "commonest)",
    )


def _shown(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--dry-run", action="store_true", help="show the plan and a measured estimate of its time"
    )
    shown_arguments(group)


def shown_arguments(group: "argparse._ArgumentGroup") -> None:
    """Add what to show of a running study."""
    group.add_argument("--json", action="store_true", help="one JSON object on stdout at the end")
    group.add_argument("--quiet", action="store_true", help="show warnings and errors only")
    group.add_argument("--debug", action="store_true", help="show tracebacks of errors")
