"""Each bad input gets one clear line on stderr and exit code 2, and nothing is written."""

import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from mhist_images import write_annotations, write_mhist
from PIL import Image

REPOSITORY = Path(__file__).parents[2]


def launch(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "study.launch", *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "HOME": str(cwd)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def image_folder(root: Path, *, truncated: bool = False, missing_class: bool = False) -> None:
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            if missing_class and split == "test" and name == "dog":
                continue
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(6):
                pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    if truncated:
        victim = root / "train" / "dog" / "3.png"
        victim.write_bytes(victim.read_bytes()[:200])


def pair_folder(root: Path, width: int = 64) -> None:
    for split in ("train", "test"):
        (root / split).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (width, 32)).save(root / split / f"{number}.png")


def nothing(_: Path) -> None:
    pass


def space_without_range(folder: Path) -> None:
    (folder / "broken.py").write_text(
        "from search_spaces.space import Range, SearchSpace\n"
        "SPACE = SearchSpace(name='b', title='b', description='b', control={},\n"
        "    parameters=(Range('x', 3, 1, 'upside down'),),\n"
        "    build_student=lambda *a: None, describe=lambda p: 'b')\n"
    )


def space_of_no_student(folder: Path) -> None:
    (folder / "unbuilt.py").write_text(
        "from dataclasses import replace\n"
        "from search_spaces.cifar_blocks import SPACE as BLOCKS\n"
        "\n"
        "\n"
        "def build_student(params, num_classes, shape):\n"
        "    return BLOCKS.build_student({'width': params['widht']}, num_classes, shape)\n"
        "\n"
        "\n"
        "SPACE = replace(BLOCKS, name='unbuilt', build_student=build_student)\n"
    )


OWN_METHOD = """\
from dataclasses import replace
from search_spaces import cifar_modern

SPACE = replace(
    cifar_modern.SPACE, name="own", presets={}, refuses=None, methods={METHODS},
    parameters=tuple(
        replace(p, choices=("margin", VALUE, "none"))
        if p.name == "method" else replace(p, when=None)
        for p in cifar_modern.SPACE.parameters
    ),
)
"""


def own_method(
    module: str = "", methods: str = "'margin': 'my_methods:Margin'", value: str = "'dist'"
) -> Callable[[Path], None]:
    """Writes a space, own.py, and its method's file beside it."""

    def write(folder: Path) -> None:
        text = OWN_METHOD.replace("METHODS", methods).replace("VALUE", value)
        (folder / "own.py").write_text(text)
        (folder / "my_methods.py").write_text(module)

    return write


GOOD_METHOD = """\
class Margin:
    name, needs_teacher, needs_network, taps = "margin", True, False, None
    def __init__(self, params):
        pass
    def at(self, epoch, epochs):
        return self
    def loss(self, answers):
        return {"loss": (answers.logits - answers.teacher_logits).abs().mean()}
"""


def space_of_many_subclasses(folder: Path) -> None:
    (folder / "many.py").write_text(
        "from dataclasses import replace\n"
        "from search_spaces import mnist_subclass\n"
        "space = mnist_subclass.SPACE\n"
        "teacher = replace(space.teachers['*'], batch_size=32)\n"
        "SPACE = replace(space, name='many', teachers={'*': teacher})\n"
    )


@dataclass(frozen=True)
class Case:
    arguments: tuple[str, ...]
    named: tuple[str, ...]  # the value, and the nearest choice or the mend
    before: Callable[[Path], None] = field(default=nothing)


SPACE = ("--space", "cifar_blocks")
DIGITS = (*SPACE, "--data", "digits")
CASES = {
    "a space with a near match": Case(
        ("--space", "cifar_block"), ("cifar_block", "did you mean cifar_blocks?")
    ),
    "an objective with a near match": Case(
        (*DIGITS, "--objectives", "accuracy,latency,param"), ("'param'", "did you mean params?")
    ),
    "objectives without the latency": Case(
        (*DIGITS, "--objectives", "accuracy,params"), ("accuracy,params", "give score,latency")
    ),
    "a space file that is missing": Case(("--space", "mine.py"), ("mine.py", "check the path")),
    "a space file that is called otherwise": Case(
        ("--space", "brokn.py"), ("brokn.py", "did you mean broken.py?"), space_without_range
    ),
    "a space file that contradicts itself": Case(
        ("--space", "broken.py", "--data", "digits"),
        ("broken.py", "no range from 3 to 1"),
        space_without_range,
    ),
    "a space of which no student can be built": Case(
        ("--space", "unbuilt.py", "--data", "digits"),
        ("unbuilt on digits", "unbuilt.py, line 6: KeyError: 'widht'", "mend build_student"),
        space_of_no_student,
    ),
    "a module that is not there": Case(("--space", "no.such:SPACE"), ("no.such", "PYTHONPATH")),
    "negative trials": Case((*DIGITS, "--trials", "-3"), ("--trials -3", "give 1 or more")),
    "no epochs": Case((*DIGITS, "--max-epochs", "0"), ("--max-epochs 0", "give 1 or more")),
    "a budget without a unit": Case(
        (*DIGITS, "--budget", "3"), ("--budget '3'", "did you mean 3m, or 3h?")
    ),
    "a budget without a unit that exists": Case(
        (*DIGITS, "--budget", "2 weeks"), ("2 weeks", "30m or 2h")
    ),
    "a name that climbs out": Case((*DIGITS, "--name", "../evil"), ("../evil", "--name evil")),
    "a name of nothing": Case((*DIGITS, "--name", ""), ("''", "try --name my-study")),
    "a parameter held at two values": Case(
        (*DIGITS, "--fix", "temperature=4", "--fix", "temperature=8"),
        ("--fix temperature=8", "held at 4 already", "give it one value"),
    ),
    "epochs of a teacher that is not trained": Case(
        (*DIGITS, "--teacher", "mine.pt", "--teacher-epochs", "3"),
        ("--teacher-epochs 3", "--teacher mine.pt", "leave one of the two out"),
    ),
    "weights of a teacher that has its own": Case(
        (*DIGITS, "--teacher", "mine.pt", "--teacher-weights", "imagenet"),
        ("--teacher-weights imagenet", "mine.pt", "--teacher-statistics imagenet"),
    ),
    "a name with a leading dot": Case((*DIGITS, "--name", ".x"), ("'.x'", "no leading dot")),
    "a name the service uses itself": Case(
        (*DIGITS, "--name", "teachers"), ("teachers", "--name teachers-study")
    ),
    "an unknown preset": Case((*DIGITS, "--preset", "papers"), ("papers", "did you mean paper?")),
    "an unknown sampler": Case((*DIGITS, "--sampler", "tpee"), ("tpee", "did you mean tpe?")),
    "an unknown runtime": Case((*DIGITS, "--runtime", "onx"), ("'onx'", "did you mean onnx?")),
    "int8 students in another runtime": Case(
        ("--space", "cifar_quantized", "--data", "digits", "--runtime", "onnx"),
        ("precision=int8", "leave it at eager, or add --fix precision=float32"),
    ),
    "an unknown scheduler": Case(
        (*DIGITS, "--scheduler", "parreto"), ("parreto", "did you mean pareto?")
    ),
    "a least accuracy that nothing exceeds": Case(
        (*DIGITS, "--min-accuracy", "100"), ("--min-accuracy 100", "perfect at 100 %; give less")
    ),
    "a least accuracy of nothing": Case(
        (*DIGITS, "--min-accuracy", "0"), ("--min-accuracy 0", "give %, such as 90")
    ),
    "a warm start from a study that is not there": Case(
        (*DIGITS, "--warm-start", "nothing"),
        ("--warm-start 'nothing'", "there are no studies in studies"),
    ),
    "a warm start from a table that is none": Case(
        (*DIGITS, "--warm-start", "table.csv"),
        ("table.csv has no column status", "give the results.csv of a report"),
        lambda folder: (folder / "table.csv").write_text("a,b\n1,2\n") and None,
    ),
    "a warm start from a table of another space": Case(
        (*DIGITS, "--warm-start", "table.csv"),
        ("has no parameter of space cifar_blocks (depth)", "leave the option out"),
        lambda folder: (
            (folder / "table.csv").write_text(
                "status,val_score,latency_ms,epochs,epochs_done,param_depth\ncomplete,9,1,2,2,3\n"
            )
            and None
        ),
    ),
    "a warm start of a sampler that learns from nothing": Case(
        (*DIGITS, "--sampler", "random", "--warm-start", "nothing"), ("learns from nothing",)
    ),
    "a parameter that is not in the space": Case(
        (*DIGITS, "--fix", "widht=16"), ("widht", "did you mean width?")
    ),
    "a value that is not a choice": Case(
        (*DIGITS, "--fix", "width=17"), ("width=17", "16, 32, 64")
    ),
    "a data set that access is granted to": Case(
        ("--space", "mhist_mobilenet"),
        ("mhist is not in data", "apply at https://bmirds.github.io/MHIST", "data/mhist"),
    ),
    "annotations of a class that is not MHIST's": Case(
        ("--space", "mhist_mobilenet"),
        ("annotations.csv, line 2: Majority Vote Label 'TVA'", "neither HP nor SSA"),
        lambda folder: write_annotations(
            write_mhist(folder / "data" / "mhist", (2, 2), (1, 1)), [("a.png", "TVA", "3", "test")]
        ),
    ),
    "a data set with a near match": Case((*SPACE, "--data", "digit"), ("digit", "digits")),
    "a folder that is missing": Case((*SPACE, "--data", "./pictures"), ("pictures", "train")),
    "a truncated image": Case(
        (*SPACE, "--data", "./pets"),
        ("3.png",),
        lambda folder: image_folder(folder / "pets", truncated=True),
    ),
    "a class missing from the test split": Case(
        (*SPACE, "--data", "./pets"),
        ("dog", "test"),
        lambda folder: image_folder(folder / "pets", missing_class=True),
    ),
    "more images of a class than there are": Case(
        (*DIGITS, "--train-per-class", "5000"), ("5000", "or fewer")
    ),
    "classes where pairs are wanted": Case(
        ("--space", "pairs_autoencoder", "--data", "./pets"),
        ("pets/train holds folders (cat, dog)", "choose a space that learns classes"),
        lambda folder: image_folder(folder / "pets"),
    ),
    "pairs where classes are wanted": Case(
        (*SPACE, "--data", "./streets"),
        ("streets/train/0.png lies outside any class folder", "a space that learns from pairs"),
        lambda folder: pair_folder(folder / "streets"),
    ),
    "built-in classes where pairs are wanted": Case(
        ("--space", "pairs_autoencoder", "--data", "digits"), ("did you mean 'digit_pairs'?",)
    ),
    "built-in pairs where classes are wanted": Case(
        (*SPACE, "--data", "digit_pairs"), ("without classes", "--space pairs_autoencoder")
    ),
    "pairs of an odd width": Case(
        ("--space", "pairs_autoencoder", "--data", "./streets"),
        ("0.png is 33 pixels wide", "even width"),
        lambda folder: pair_folder(folder / "streets", width=33),
    ),
    "pairs that cannot be halved": Case(
        ("--space", "pairs_autoencoder", "--data", "./streets", "--image-size", "48"),
        ("48x48 pixels cannot be halved 5 times", "--image-size 64"),
        lambda folder: pair_folder(folder / "streets"),
    ),
    "images of each class where there are pairs": Case(
        ("--space", "pairs_autoencoder", "--train-per-class", "5"),
        ("--train-per-class 5", "no classes", "leave the option out"),
    ),
    "a teacher checkpoint that is missing": Case(
        (*DIGITS, "--teacher", "none.pt"), ("none.pt", "check the path")
    ),
    "a teacher checkpoint that is no checkpoint": Case(
        (*DIGITS, "--teacher", "notes.pt"),
        ("notes.pt", "torch.save"),
        lambda folder: (folder / "notes.pt").write_text("not a checkpoint") and None,
    ),
    "a teacher's network with a near match": Case(
        (*DIGITS, "--teacher-network", "inceptoin"), ("inceptoin", "did you mean inception?")
    ),
    "an inception that is shown small images": Case(
        (*DIGITS, "--teacher-network", "inception"), ("32 px", "--teacher-size 75 or more")
    ),
    "an inception whose images are enlarged too little": Case(
        (*DIGITS, "--teacher-network", "inception", "--teacher-size", "32"),
        ("--teacher-size 32", "give 75 or more"),
    ),
    "a studies folder below a file": Case(
        (*DIGITS, "--studies", "taken/studies"),
        ("taken", "name a folder"),
        lambda folder: (folder / "taken").write_text("a file") and None,
    ),
    "a studies folder that cannot be written": Case(
        (*DIGITS, "--studies", "/proc/studies"), ("/proc", "name another folder")
    ),
    "an address that is none": Case(
        (*DIGITS, "--address", "cluster"), ("cluster", "10.0.0.1:6379")
    ),
    "an address where nobody answers": Case(
        (*DIGITS, "--address", "127.0.0.1:1"), ("127.0.0.1:1", "ray status")
    ),
    "a storage that is no database": Case(
        (*DIGITS, "--storage", "record.db"), ("record.db", "postgresql")
    ),
    "a studies folder in an object store": Case(
        (*DIGITS, "--studies", "s3://bucket/studies"), ("bucket/studies", "--storage")
    ),
    "a tracking URI that is a folder": Case(
        (*DIGITS, "--tracking-uri", "./mlruns"), ("mlruns", "sqlite:///")
    ),
    "more CPUs a trial than there are": Case(
        (*DIGITS, "--cpus-per-trial", "4096"), ("4096", "give at most")
    ),
    "a share of failures above one": Case(
        (*DIGITS, "--max-failures", "7"), ("--max-failures 7", "at most 1")
    ),
    "methods that see nothing in two classes": Case(
        ("--space", "cifar_modern", "--data", "digits2x5"),
        ("dkd, dist and logit_std have no signal with 2 classes", "--fix method=response"),
    ),
    "more subclasses than a batch can carry": Case(
        ("--space", "many.py", "--data", "digits"),
        ("4 subclasses of each of 10 classes", "32 images", "3 or fewer with --fix"),
        space_of_many_subclasses,
    ),
    "a method declared under a name that no trial can have": Case(
        ("--space", "own.py", "--data", "digits"),
        ("own.py", "'margn'", "did you mean margin?"),
        own_method(GOOD_METHOD, "'margn': 'my_methods:Margin'"),
    ),
    "a method that is neither built in nor declared": Case(
        ("--space", "own.py", "--data", "digits", "--dry-run"),
        ("space own on digits: no method 'logit_sdt'; did you mean logit_std?",),
        own_method(GOOD_METHOD, value="'logit_sdt'"),
    ),
    "a method of one's own whose file cannot be imported": Case(
        ("--space", "own.py", "--data", "digits"),
        ("method margin", "my_methods.py, line 2", "No module named 'torhc'"),
        own_method("import torch\nimport torhc\n"),
    ),
    "a method of one's own that lacks a member": Case(
        ("--space", "own.py", "--data", "digits"),
        ("method margin: a Margin lacks at", "study.distillation.methods"),
        own_method(GOOD_METHOD.replace("def at", "def now")),
    ),
    "a method of one's own under a built-in name": Case(
        ("--space", "own.py", "--data", "digits", "--dry-run"),
        ("a method 'dist', which is built in; give it another name",),
        own_method(GOOD_METHOD, "'dist': 'my_methods:Margin'"),
    ),
    "a method of one's own space that sees nothing in two classes": Case(
        ("--space", "own.py", "--data", "digits2x5", "--fix", "method=dist", "--dry-run"),
        ("dist has no signal with 2 classes; use the method response",),
        own_method(GOOD_METHOD),
    ),
}


def contents(folder: Path) -> set[Path]:
    # A Ray that was started keeps its token in the home folder.
    passing = {"__pycache__", ".ray"}
    return {path for path in folder.rglob("*") if not passing & set(path.parts)}


@pytest.mark.end_to_end
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_input_is_refused_in_one_line(case: Case, tmp_path: Path) -> None:
    case.before(tmp_path)
    before = contents(tmp_path)

    run = launch(*case.arguments, cwd=tmp_path)

    assert run.returncode == 2, run.stderr
    lines = run.stderr.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1
    assert lines[-1] == errors[0]
    assert "Traceback" not in run.stderr + run.stdout
    for text in case.named:
        assert text in errors[0]
    assert contents(tmp_path) == before


@pytest.mark.end_to_end
def test_missing_data_without_a_network_names_three_ways_out(tmp_path: Path) -> None:
    # A proxy that nobody serves stands for a missing network.
    run = subprocess.run(
        [sys.executable, "-m", "study.launch", "--space", "cifar_blocks", "--data", "cifar10"],
        cwd=tmp_path,
        env={
            "PYTHONPATH": str(REPOSITORY),
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "https_proxy": "http://127.0.0.1:9",
            "http_proxy": "http://127.0.0.1:9",
        },
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )

    assert run.returncode == 2
    line = run.stderr.strip().splitlines()[-1]
    assert "python -m study.launch --space cifar_blocks --data digits" in line
    assert "--data-dir" in line
    assert contents(tmp_path) == set()


def processor_seconds() -> float:
    """What the programs that this one has started have computed, whatever else the machine does."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.end_to_end
def test_help_answers_in_a_second_and_shows_examples_for_a_cpu(tmp_path: Path) -> None:
    before = processor_seconds()
    run = launch("--help", cwd=tmp_path)
    took = processor_seconds() - before

    assert run.returncode == 0
    assert "--data digits" in run.stdout
    assert "exit codes" in run.stdout
    assert took < 2  # 0.2 s on an idle machine


@pytest.mark.end_to_end
def test_the_launcher_imports_nothing_heavy_before_it_refuses(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from study.launch import main\n"
        "code = main(['--space', 'cifar_blocks', '--data', 'digits', '--trials', '0'])\n"
        "heavy = {'torch', 'ray', 'mlflow', 'optuna', 'plotly', 'pandas'} & set(sys.modules)\n"
        "sys.exit(str(sorted(heavy)) if heavy else code)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert run.returncode == 2, run.stderr
