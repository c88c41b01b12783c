import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from cluster.connect import ClusterError
from cluster.jobs import Jobs
from study import __main__, launch, submission
from study.arguments import parser
from study.submission import (
    Submission,
    _folder_to_send,
    _Shown,
    check_paths,
    run_there,
    without_option,
)

ASKED = ["--space", "cifar_blocks", "--data", "digits"]


@pytest.mark.parametrize("words", [["--submit", "http://h"], ["--submit=http://h"], ["--sub", "u"]])
def test_the_option_itself_is_not_sent(words: list[str]) -> None:
    asked = ["--space", "my.py", *words, "--studies", "/s", "--submitted"]
    assert without_option(asked) == ("--space", "my.py", "--studies", "/s", "--submitted")


@pytest.mark.parametrize("verb", ["resume", "export", "sync"])
@pytest.mark.parametrize("own", [[], ["--own-code"], ["--own"]])
def test_a_verb_that_needs_the_space_sends_ones_own_when_told_to(
    verb: str, own: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Submission] = []
    monkeypatch.setattr(submission, "run_there", lambda each: sent.append(each) or 0)
    more = ["--trial", "1"] if verb == "export" else []
    words = [verb, "first", *more, "--studies", "/s"]
    assert __main__.main([*words, *own, "--submit", "http://h"]) == 0
    assert (sent[0].own_code, sent[0].argv) == (bool(own), tuple(words))


def test_at_home_there_is_nothing_to_send(capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["resume", "first", "--own-code"]) == 2
    assert "--own-code goes with --submit" in capsys.readouterr().err


def test_a_command_is_quoted_for_the_shell_of_the_head() -> None:
    sent = Submission("http://h", "study.launch", ("--name", "a b", "--fix", "x=$(id)"), "/s")
    assert sent.command == "python -m study.launch --name 'a b' --fix 'x=$(id)'"


@pytest.mark.parametrize(
    ("option", "value", "mend"),
    [
        ("--studies", "here/mine", "/data/mine"),
        ("--data-dir", "data", "/data/data"),
        ("--data", "pictures/cells", "/data/cells"),
        ("--teacher", "teacher.pt", "/data/teacher.pt"),
        ("--warm-start", "studies/first", "/data/first"),
        ("--warm-start", "results.csv", "/data/results.csv"),
        ("--storage", "sqlite:///records.db", "sqlite:////data/records.db"),
        ("--tracking-uri", "sqlite:///here/mlflow.db", "sqlite:////data/mlflow.db"),
    ],
)
def test_paths_are_the_clusters_and_begin_with_a_slash(option: str, value: str, mend: str) -> None:
    asked = {"--studies": "/s", "--space": "cifar_blocks", "--data": "digits", option: value}
    with pytest.raises(ClusterError, match=f"as in {option} {mend}$"):
        check_paths(parser().parse_args([word for pair in asked.items() for word in pair]))


def test_names_whole_paths_and_servers_are_left_as_they_are() -> None:
    check_paths(
        parser().parse_args(
            [
                *("--space", "cifar_blocks", "--data", "cifar10", "--studies", "/s"),
                *("--warm-start", "first", "--storage", "postgresql+psycopg://u@h/studies"),
                *("--tracking-uri", "sqlite:////s/mlflow.db", "--teacher", "/s/teacher.pt"),
            ]
        )
    )
    check_paths(parser().parse_args([*ASKED, "--studies", "/s", "--tracking-uri", "none"]))


@pytest.mark.parametrize(
    "verb",
    [
        ["list", "--studies", "here"],
        ["resume", "first", "--studies", "/s", "--data-dir", "data"],
        ["export", "first", "--studies", "/s", "--trial", "1", "--output", "out"],
        ["sync", "first", "--studies", "/s", "--tracking-uri", "sqlite:///mlflow.db"],
    ],
)
def test_the_paths_of_verbs_are_the_clusters_too(
    verb: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert __main__.main([*verb, "--submit", "http://127.0.0.1:1"]) == 2
    assert "begins with /; as in" in capsys.readouterr().err


def test_without_a_data_dir_data_sets_lie_beside_the_studies(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: list[Submission] = []
    monkeypatch.setattr(submission, "run_there", lambda each: sent.append(each) or 0)
    to = ["--studies", "/s/", "--submit", "http://127.0.0.1:1"]
    assert launch.main([*ASKED, *to]) == 0
    assert launch.main(["--space", "cifar_blocks", "--data", "cifar10", *to]) == 0
    assert "/s/data there" in capsys.readouterr().err
    assert "--data-dir" not in sent[0].argv
    assert sent[1].argv[-2:] == ("--data-dir", "/s/data")
    launch.main(["--space", "cifar_blocks", "--data", "cifar10", "--data-dir", "/d", *to])
    assert sent[2].argv.count("--data-dir") == 1
    __main__.main(["doctor", *to])
    assert sent[3].argv[-2:] == ("--data-dir", "/s/data")


@pytest.mark.parametrize(
    "asked",
    [
        ["--space", "cifar_blocks", "--data", "digits"],
        ["--space", "cifar_blocks", "--data", "digits", "--studies", "/s", "--data-dir", "data"],
        ["--space", "cifar_blocks", "--data", "digits", "--studies", "/s", "--teacher", "t.pt"],
    ],
)
def test_a_relative_path_is_one_line_before_anything_is_asked(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch.main([*asked, "--submit", "http://127.0.0.1:1"]) == 2
    assert "it is a path on the cluster" in capsys.readouterr().err
    assert __main__.main(["list", "--studies", "here", "--submit", "http://127.0.0.1:1"]) == 2


def test_a_space_outside_the_working_directory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "mine.py"
    space.write_text("from search_spaces.cifar_blocks import SPACE as SPACE\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    asked = ["--data", "digits", "--studies", "/s", "--submit", "http://127.0.0.1:1"]
    assert launch.main(["--space", "../mine.py", *asked]) == 2
    assert "in the folder of your space" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert launch.main(["--space", str(space), *asked]) == 2
    assert "--space mine.py" in capsys.readouterr().err


def test_this_package_and_the_users_own_code_are_sent_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mine.py", "parts/more.py", ".venv/x.py", "env/lib/y.py", "study/old.py", "a.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    for name in (".secrets.py", "parts/.keys.py"):
        (tmp_path / name).write_text("PASSWORD = 1\n")
    (tmp_path / "env" / "pyvenv.cfg").write_text("")
    (tmp_path / ".#mine.py").symlink_to("user@machine.1234")  # as Emacs locks a file
    (tmp_path / "gone.py").symlink_to("nowhere.py")
    monkeypatch.chdir(tmp_path)
    with _folder_to_send(own_code=True) as folder:
        sent = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    own = {name for name in sent if name.split("/")[0] not in ("study", "cluster", "analysis")}
    assert {name for name in own if not name.startswith("search_spaces/")} == {
        *("mine.py", "parts/more.py")
    }
    assert {"study/launch.py", "cluster/jobs.py", "analysis/assets/report.css"} <= sent
    assert "study/old.py" not in sent
    assert not any("__pycache__" in name for name in sent)
    with _folder_to_send(own_code=False) as folder:
        assert not (folder / "mine.py").exists()


def test_passwords_beside_the_code_are_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    for name in ("study/submission.py", "cluster/mlflow/.env", "cluster/mlflow/env.example"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("SECRET=1\n")
    for room in ("search_spaces", "analysis"):
        (home / room).mkdir()
    monkeypatch.setattr(submission, "__file__", str(home / "study" / "submission.py"))
    with _folder_to_send(own_code=False) as folder:
        sent = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert sent == {"study/submission.py", "cluster/mlflow/env.example"}


def test_more_python_files_than_are_code_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "large.py").write_bytes(b"#" * (21 * 2**20))
    with pytest.raises(ClusterError, match="20 MB"), _folder_to_send(own_code=True):
        pass


def test_a_jobs_one_log_is_told_apart_again(capsys: pytest.CaptureFixture[str]) -> None:
    shown = _Shown(as_json=True)
    for piece in ("Running entrypoint for job x: y\nteacher", ' 3/5\n{"a":', " 1}\nerror: no\n"):
        shown.write(piece)
    shown.write("Running entrypoint for job z: said later")
    shown.end()
    out, err = capsys.readouterr()
    assert out == '{"a": 1}\n'
    assert err == "teacher 3/5\nerror: no\nRunning entrypoint for job z: said later\n"
    plain = _Shown(as_json=False)
    plain.write("teacher 3/5\nerror: no\n")
    out, err = capsys.readouterr()
    assert (out, err) == ("teacher 3/5\n", "error: no\n")


class Followed:
    """Stands in for a cluster, which is another test: a job that prints some text and ends."""

    def __init__(self, text: str, code: int | None, message: str = "") -> None:
        self._text, self._end = text, (code, message)

    def submit(self, command: str, folder: Path, env: Mapping[str, str]) -> str:
        return "job_1"

    def follow(self, job: str, write: Callable[[str], None]) -> tuple[int | None, str]:
        write(self._text)
        return self._end


@pytest.mark.parametrize(
    ("job", "code", "said"),
    [
        (Followed("t0001 1/5\n", 0), 0, None),
        (Followed("error: no such data\n", 2, "failed with exit code 2"), 2, None),
        (Followed("", 2, "Runtime env failed\nmore"), 2, "job job_1: Runtime env failed"),
        (Followed("t0001 1/5\n", None, "The actor died\nmore"), 1, "job job_1: The actor died"),
        (
            Followed("t0001 1/5\n", -9, "exit code -9, last"),
            137,
            "its driver was ended by signal 9",
        ),
    ],
)
def test_of_a_job_that_did_not_end_by_itself_it_is_said_why(
    job: Followed,
    code: int,
    said: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(submission, "check_head", lambda url: None)
    monkeypatch.setattr(submission, "Jobs", lambda url: job)
    assert run_there(Submission("http://h", "study", ("list",), "/s")) == code
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: job")]
    assert told == ([] if said is None else [line for line in told if line.endswith(said)])
    assert len(told) == (said is not None)


def test_a_head_that_is_lost_while_a_job_runs_is_no_mistake_of_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 would say that nothing was written."""

    class Lost(Followed):
        def follow(self, job: str, write: Callable[[str], None]) -> tuple[int | None, str]:
            write("t0001 1/5\nt0001 2")
            raise ClusterError(f"--submit http://h: the head has not answered; job {job} may go on")

    monkeypatch.setattr(submission, "check_head", lambda url: None)
    monkeypatch.setattr(submission, "Jobs", lambda url: Lost("", None))

    assert launch.main([*ASKED, "--studies", "/s", "--submit", "http://h"]) == 1
    out, err = capsys.readouterr()
    assert out == "t0001 1/5\nt0001 2\n"
    assert err.splitlines()[-1] == (
        "error: --submit http://h: the head has not answered; job job_1 may go on: "
        "python -m study status|stop NAME --studies /s --submit http://h"
    )


def test_what_cannot_be_written_ends_the_following() -> None:
    class Client:
        async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
            yield "teacher 1/5\n"
            raise AssertionError("nobody reads on")

    jobs = object.__new__(Jobs)
    jobs._client = Client()

    def write(text: str) -> None:
        raise BrokenPipeError(text)

    with pytest.raises(BrokenPipeError, match="teacher 1/5"):
        jobs.follow("job_1", write)


def test_submission_needs_no_ray_to_refuse() -> None:
    import subprocess

    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import sys; from study.__main__ import main; "
            "assert main(['list', '--studies', '/s', '--submit', 'http://127.0.0.1:1']) == 2; "
            "assert not {'ray', 'torch'} & set(sys.modules)",
        ],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "no Ray dashboard answers there" in done.stderr
