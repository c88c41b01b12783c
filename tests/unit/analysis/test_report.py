import base64
import errno
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from analysis.limits import beyond_limits
from analysis.markup import Cell, Head, Html, join, script_json, sortable_table, tag
from analysis.record import read_record
from analysis.report import ReportError, main, put, render, write_report

EVIL = """</script><img src=x onerror=alert(1)>"'&amp;%{x}${y}"""


class Page(HTMLParser):
    """Elements, attributes and the text outside scripts and styles."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.text, self.ids = [], [], []
        self._inside = None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag in ("script", "style"):
            self._inside = tag

    def handle_endtag(self, tag):
        if tag == self._inside:
            self._inside = None

    def handle_data(self, data):
        if self._inside is None:
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).replace("\u00a0", " ").split())

    def count(self, name):
        return sum(element == name for element, _ in self.elements)


@pytest.fixture(scope="module")
def html(realistic):
    return render(realistic)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_the_same_record_gives_the_same_bytes(realistic_folder, html):
    assert render(read_record(realistic_folder)) == html


def test_a_copied_record_gives_the_same_bytes_in_another_process(realistic_folder, tmp_path, html):
    folder = shutil.copytree(realistic_folder, tmp_path / "elsewhere")
    subprocess.run([sys.executable, "-m", "analysis.report", folder], check=True)
    assert (folder / "report" / "index.html").read_text(encoding="utf-8") == html


def test_the_page_loads_nothing(page):
    for name, attributes in page.elements:
        for key in ("src", "href", "srcset", "data", "action", "poster"):
            target = attributes.get(key) or ""
            assert target.startswith(("#", "data:")) or not target, (name, attributes)
    policies = [a["content"] for n, a in page.elements if n == "meta" and "http-equiv" in a]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'")


def test_plotly_is_there_once(html, page):
    packed = re.search(r'id="packed-plotly">([^<]*)</script>', html)[1]
    script = gzip.decompress(base64.b64decode(packed)).decode()
    assert script.count("plotly.js v") == 1
    assert script == get_plotlyjs()
    assert 1_500_000 < len(html.encode()) < 2_600_000


def test_ids_are_unique_and_links_lead_somewhere(page):
    assert len(page.ids) == len(set(page.ids))
    links = [a["href"] for n, a in page.elements if n == "a"]
    assert len(links) == 14
    assert all(link[1:] in page.ids for link in links)


def test_what_was_asked_and_found_comes_first(page):
    words = page.words
    first = words[: words.index("The front Chosen by")]
    for fact in (
        "pareto-demo", "Residual students, blocks per stage", "cifar_blocks", "cifar10",
        "45,000 / 5,000 / 10,000 train / validation / test, 10 classes", "ResNet-50 [3,4,6,3]",
        "48 46 ended, 2 running or interrupted", "30 at most, each trial", "2 h wall time",
        "one of 9 on the front among 27 fully trained students", "Hypervolume 0.598",
        "Within one point of the teacher 22.1 M parameters", "95 % interval +1.5 to +2.3",
    ):  # fmt: skip
        assert fact in first


def test_what_became_of_a_copy_is_announced(page):
    (status,) = [attrs for _, attrs in page.elements if attrs.get("id") == "announced"]
    assert status["role"] == "status"
    labels = [attrs["aria-label"] for _, attrs in page.elements if "data-copy" in attrs]
    assert len(labels) == len(set(labels)) > 9
    # The words that are announced are the name of the button with this one in another form.
    assert all(label.startswith("Copy ") for label in labels)
    script = files("analysis").joinpath("assets", "tables.js").read_text(encoding="utf-8")
    assert 'button.getAttribute("aria-label").replace("Copy", ' in script
    assert 'getElementById("announced")' in script


def test_trials_are_picked_by_keyboard_at_one_stop_of_a_table(page, html):
    # A row is no stop of its own: the script makes the name of one row in each table a stop.
    rows = re.findall("<tr.*?</tr>", html[html.index('<table id="trials-table"') :], re.DOTALL)
    assert not any("tabindex" in row for row in rows)
    names = re.findall(r'<th scope="row"[^>]*><span class="stack"><b>(t\d+)</b>', html)
    assert len(names) >= 48
    script = files("analysis").joinpath("assets", "tables.js").read_text(encoding="utf-8")
    assert 'const named = "tbody th:first-child b[role=button]";' in script
    assert 'event.key === "Enter"' in script
    assert "ArrowDown: at + 1, ArrowUp: at - 1" in script


def test_every_section_is_there(page):
    for heading in (
        "The front", "What distillation added", "Published beside measured", "Why they may differ",
        "Parameters and FLOPs", "Learning curves", "Hypervolume over epochs spent",
        "What mattered", "Slices", "Temperature and α", "Parallel coordinates", "All trials",
        "Trials that cannot be on the front", "Where the time went", "Provenance", "Sessions",
        "Search space",
    ):  # fmt: skip
        assert heading in page.words
    assert "loss is not finite at epoch 3, step 41" in page.words
    assert "networks in training at a time, on average" in page.words
    for value in ("0d4b7c9a1f2e3d4c", "a1b2c3d4e5f60718", "77aa33c0ffee1234", "6f1d0c2b9a8e7d65",
                  "AMD EPYC 7B13", "2.15.0"):  # fmt: skip
        assert value in page.words


def rows_of(html, identifier):
    table = re.search(f'<table id="{identifier}".*?</table>', html, re.DOTALL)[0]
    body = table[table.index("<tbody>") :]
    return [
        [re.sub("<[^>]+>", " ", cell).split() for cell in re.findall(r"<t[hd].*?</t[hd]>", row)]
        for row in re.findall("<tr>.*?</tr>", body, re.DOTALL)
    ]


def test_the_front_table_holds_the_front(html):
    rows = rows_of(html, "front-table")
    names = ["t0033", "t0035", "t0032", "t0004", "t0001", "t0002", "t0034", "t0021", "t0000"]
    assert [row[0][0] for row in rows] == names
    assert rows[3][2:5] == [["77.03"], ["76.43"], ["7.60"]]


def test_published_stands_beside_measured(html):
    rows = rows_of(html, "published-table")
    assert len(rows) == 9
    assert rows[0][1:4] == [["79.3"], ["80.7"], ["+1.4"]]
    assert rows[0][4:7] == [["400"], ["294"], ["\u2212106"]]
    assert rows[0][7:10] == [["6.58"], ["1.98", "1.90–2.04"], ["\u22124.60"]]


def test_validation_accuracy_in_place_of_test_score_is_marked(sample, study):
    trial = sample.trial(sample.params(), accuracy=77.0, ratio=3.0, label="Baseline")
    text = render(study([trial]))
    assert rows_of(text, "published-table")[0][2] == ["77.0", "†"]
    assert "† Validation accuracy: not yet scored" in text
    assert "* Not yet measured again on the idle device" in text


def test_rows_with_two_notes_have_two_marks(sample, study):
    plan = sample.plan()
    rows = plan["space"]["published"]["rows"]
    reduced = [row["label"] for row in rows if row["note"]]
    rows[4]["note"] = "The ideal."
    trial = sample.trial(sample.params(), accuracy=77.0, ratio=3.0, label="Baseline")
    text = render(study([trial], plan_content=plan))

    shown = [" ".join(row[0]) for row in rows_of(text, "published-table")]
    assert [name for name in shown if "‡" in name] == [f"{rows[4]['label']} ‡ not run"]
    assert [name for name in shown if "§" in name] == [f"{name} § not run" for name in reduced]
    assert "‡ The ideal." in text
    assert "§ A tenth of the training images." in text


def evil_plan(sample):
    plan = sample.plan(EVIL, preset=EVIL, fixed={EVIL: EVIL})
    plan["data"] |= {"name": EVIL, "source": EVIL, "classes": [EVIL, "b"]}
    space = plan["space"]
    space |= {"name": EVIL, "title": EVIL, "description": EVIL}
    space["parameters"][4] |= {"help": EVIL, "choices": [EVIL]}
    space["objectives"][0] |= {"label": EVIL, "unit": EVIL}
    space["published"]["rows"][0] |= {"label": EVIL, "note": EVIL}
    space["published"]["columns"][1] |= {"label": EVIL, "unit": EVIL}
    space["published"] |= {"source": EVIL, "note": EVIL}
    return plan


def test_names_cannot_become_markup(sample, study):
    shown = sample.trial(sample.params(), accuracy=77.0, ratio=3.0, label=EVIL, source="preset")
    shown["attributes"]["architecture"] = EVIL
    shown["attributes"]["started_at"] = EVIL
    control = sample.trial(sample.params(terms="ce"), accuracy=75.0, ratio=3.0, label=EVIL)
    control["attributes"]["architecture"] = EVIL
    failed = sample.trial(sample.params(), status="failed", reason=EVIL)
    results = study(
        [shown, control, failed],
        plan_content=evil_plan(sample),
        teacher_content=sample.teacher(name=EVIL, source=EVIL),
        sessions=[{"started_at": EVIL, "seconds": 10.0, "end": EVIL}],
    )
    html = render(results)
    page = Page(html)
    assert page.count("img") == 0
    assert page.count("script") == 9  # colours, five charts, axes, plotly, the page's own
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert " ".join(EVIL.split()) in page.words
    for identifier in ("figure-front", "figure-curves", "figure-params", "figure-flops"):
        stored = re.search(f'id="{identifier}">(.*?)</script>', html, re.DOTALL)[1]
        assert "<" not in stored
        json.loads(stored)


@pytest.mark.parametrize(
    ("trials", "options", "says"),
    [
        ([], {"with_teacher": False, "sessions": []}, "No trial has started yet"),
        ([], {}, "No trial has started yet"),
        (["running"], {"sessions": []}, "The only trial has not run to its end"),
        (["stopped", "infeasible", "failed"], {}, "None of 3 trials has run to its end"),
        (["complete"], {"with_teacher": False}, "One student was trained to its last epoch"),
        (["complete"], {"published": False}, "One student was trained to its last epoch"),
    ],
)
def test_unfinished_studies_render(sample, study, trials, options, says):
    fates = {
        "running": {"accuracy": 70.0, "ratio": 3.0, "status": None, "done": 2},
        "stopped": {"accuracy": 70.0, "ratio": 3.0, "status": "stopped", "done": 3},
        "infeasible": {"ratio": 1.0, "status": "infeasible", "reason": "too slow"},
        "failed": {"status": "failed", "reason": None},
        "complete": {"accuracy": 77.0, "ratio": 3.0},
    }
    published = options.pop("published", True)
    results = study(
        [sample.trial(sample.params(), **fates[fate]) for fate in trials],
        plan_content=sample.plan(published=published),
        **options,
    )
    page = Page(render(results))
    assert says in page.words
    assert ("Published beside measured" in page.words) == published
    assert ("chart-front" in page.ids) == bool({"stopped", "complete"} & set(trials))


def test_students_that_keep_no_limit_are_said_to_have_run_to_their_end(sample, study):
    poor = sample.trial(
        sample.params(), accuracy=55.0, ratio=3.0, status="infeasible",
        reason="accuracy 55.00 %, less than 60.00 %",
    )  # fmt: skip
    default = sample.trial(sample.params((1, 1, 0, 0)), accuracy=58.0, ratio=4.0)
    default["attributes"]["outcome"]["breaks"] = "accuracy 58.00 %, less than 60.00 %"
    words = Page(render(study([poor, default]))).words
    assert "of 2 students trained to the last epoch none keeps to the limits" in words
    assert "none keeps to the limits asked for; t0001" in words
    assert "58.00 %, less than 60.00 %" in words
    assert "has run to its end" not in words
    alone = study([poor], plan_content=sample.plan("alone"))
    assert "of 1 student trained to the last epoch none keeps" in Page(render(alone)).words


def test_who_is_beyond_a_limit_once_measured_again_is_named(sample, study):
    slow, fine = (
        sample.trial(sample.params(blocks), accuracy=score, ratio=12.0, confirmed=(score, ratio))
        for blocks, score, ratio in (((1, 1, 1, 1), 80.0, 10.0), ((1, 1, 0, 0), 70.0, 13.0))
    )
    limit = sample.TEACHER_MS / 11.0
    results = study([slow, fine], plan_content=sample.plan(max_latency_ms=limit))
    assert list(beyond_limits(results)) == [0]
    told = beyond_limits(results)[0].replace("\u00a0", " ")
    assert told == f"{sample.TEACHER_MS / 10:.2f} ms, more than {limit:.2f} ms"
    assert f"Beyond what was asked for: t0000, {told}" in Page(render(results)).words
    kept = study([slow, fine], plan_content=sample.plan("kept", max_latency_ms=None))
    assert not beyond_limits(kept)
    assert "Beyond what was asked for" not in Page(render(kept)).words


def test_a_report_of_nothing_carries_no_plotly(study):
    assert len(render(study([], with_teacher=False))) < 100_000


def test_a_thousand_trials_fit_in_six_megabytes(sample, tmp_path):
    results = read_record(sample.large(tmp_path / "large", 1000))
    html = render(results)
    assert len(rows_of(html, "trials-table")) == 1000
    assert len(html.encode()) < 6_000_000


def test_every_file_is_written(realistic_folder, tmp_path):
    folder = shutil.copytree(realistic_folder, tmp_path / "study")
    paths = write_report(folder)
    names = [path.name for path in paths]
    assert names == ["index.html", "results.csv", "front.csv", "published.csv", "results.md"]
    assert sorted(path.name for path in (folder / "report").iterdir()) == sorted(names)
    assert (folder / "report" / "front.csv").read_text().startswith("trial,label,architecture,")


def test_command_line(realistic_folder, tmp_path, capsys):
    folder = shutil.copytree(realistic_folder, tmp_path / "study")
    assert main([str(folder)]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == str(folder / "report" / "index.html")
    assert printed.err == ""


def test_formats_are_chosen_and_an_unknown_one_is_refused(realistic_folder, tmp_path, capsys):
    folder = shutil.copytree(realistic_folder, tmp_path / "study")
    assert main([str(folder), "--format", "tex, csv,tex", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    names = [Path(path).name for path in told["files"]]
    assert names == ["results.tex", "results.csv", "front.csv", "published.csv"]
    assert told["best_trade_off"] == "t0032"
    assert told["hypervolume"] == pytest.approx(0.598, abs=5e-4)
    assert told["found"][0].startswith("9 of 27 fully trained students")
    shutil.rmtree(folder / "report")
    assert main([str(folder), "--format", "html,htm"]) == 2
    printed = capsys.readouterr()
    assert printed.err == (
        "analysis.report: no format 'htm': did you mean html? choose from html, csv, md, tex, png\n"
    )
    assert not (folder / "report").exists()


def test_without_a_browser_png_is_a_sentence_and_the_rest_is_written(
    realistic_folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("analysis.images._browser", lambda: None)
    folder = shutil.copytree(realistic_folder, tmp_path / "study")
    assert main([str(folder), "--format", "png,md"]) == 0
    printed = capsys.readouterr()
    assert printed.out.split() == [str(folder / "report" / "results.md")]
    assert "PNG needs a Chromium or Chrome" in printed.err or "PNG needs kaleido" in printed.err


def test_a_folder_without_a_study_is_refused_in_one_line(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert "holds no study" in printed.err
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["env", "e*", "[e]nv", "e" * 250])
def test_a_file_is_written_and_its_neighbours_stay(tmp_path, name):
    neighbours = (".env.local", ".env.production", ".e*.own", ".env.1.tmp")
    for neighbour in neighbours:
        (tmp_path / neighbour).write_text("mine")
    assert put(tmp_path / name, b"new") == tmp_path / name
    assert (tmp_path / name).read_bytes() == b"new"
    assert {path.name for path in tmp_path.iterdir()} == {name, *neighbours}


def test_what_a_killed_process_was_writing_is_swept_and_all_else_stays(realistic_folder, tmp_path):
    folder = shutil.copytree(realistic_folder, tmp_path / "s")
    report = folder / "report"
    report.mkdir(exist_ok=True)
    old, new, other = (report / f".index.html.{letter * 32}.tmp" for letter in "abz")
    for path in (old, new, other):
        path.write_text("half")
    for path in (old, other):
        os.utime(path, (0, 0))

    write_report(folder, ("md",))

    assert [path.exists() for path in (old, new, other)] == [False, True, True]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("folder", IsADirectoryError),
        ("nowhere/page.html", FileNotFoundError),
        ("file/page.html", NotADirectoryError),
    ],
)
def test_a_file_that_cannot_be_written_is_named_and_nothing_is_left_of_it(tmp_path, name, kind):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(kind) as refusal:
        put(tmp_path / name, b"new")
    assert refusal.value.filename == str(tmp_path / name)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_what_is_half_written_is_removed_when_it_is_interrupted(tmp_path, monkeypatch):
    def interrupted(path, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        put(tmp_path / "page.html", b"new")
    assert list(tmp_path.iterdir()) == []


def test_two_who_write_the_same_file_do_not_hinder_each_other(tmp_path, monkeypatch):
    path, errors = tmp_path / "page.html", []
    both = threading.Barrier(2, timeout=20)
    write = Path.write_bytes

    def write_together(unfinished, content):
        write(unfinished, content)
        both.wait()

    def write_one(content):
        try:
            put(path, content)
        except OSError as error:
            errors.append(error)

    monkeypatch.setattr(Path, "write_bytes", write_together)
    writers = [threading.Thread(target=write_one, args=(content,)) for content in (b"a", b"b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert errors == []
    assert path.read_bytes() in (b"a", b"b")
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_that_cannot_be_written_is_one_line_with_its_folder(
    realistic_folder, tmp_path, capsys
):
    folder = shutil.copytree(realistic_folder, tmp_path / "study")
    report = folder / "report"
    report.write_text("a file")
    assert main([str(folder)]) == 2
    assert capsys.readouterr().err == (
        f"analysis.report: {report} cannot be written (File exists); move {report} away\n"
    )
    report.unlink()
    (report / "results.md").mkdir(parents=True)
    with pytest.raises(ReportError) as refusal:
        write_report(folder)
    assert str(refusal.value) == (
        f"{report} cannot be written (results.md: Is a directory); "
        f"move {report / 'results.md'} away"
    )


@pytest.mark.parametrize(
    ("number", "reason", "mend"),
    [
        (errno.EACCES, "Permission denied", "make it and {} writable"),
        (errno.EROFS, "Read-only file system", "make it and {} writable"),
        (errno.ENOSPC, "No space left on device", "make room there"),
    ],
)
def test_a_report_that_is_not_let_be_written_names_no_unfinished_file(
    realistic_folder, tmp_path, monkeypatch, capsys, number, reason, mend
):
    def refuse(path, content):
        raise OSError(number, reason, str(path))

    folder = shutil.copytree(realistic_folder, tmp_path / "study")
    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert main([str(folder), "--format", "csv"]) == 2
    assert capsys.readouterr().err == (
        f"analysis.report: {folder / 'report'} cannot be written (results.csv: {reason}); "
        f"{mend.format(folder)}\n"
    )


def test_help_and_usage_errors(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "STUDY_FOLDER" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2


def test_text_is_escaped_unless_it_is_markup():
    assert tag("p", "<b>", Html("<i></i>"), None) == "<p>&lt;b&gt;<i></i></p>"
    element = tag("p", class_='a"b', data_x=None, hidden=True)
    assert element == '<p class="a&quot;b" hidden></p>'
    assert join(["a", None, "<"], ", ") == "a, &lt;"
    assert "</script" not in script_json("x", '"</script>"')[:-9]


def test_cells_carry_the_number_they_are_sorted_by_only_where_it_is_not_shown():
    heads = [Head("a"), Head("b")]
    rows = [[Cell("1,204", 1204.0), Cell("4 min", 240.0)]]
    table = sortable_table("t", "caption", heads, rows)
    assert '<th class="n" scope="row">1,204</th>' in table
    assert '<td class="n" data-order="240">4 min</td>' in table


def test_parameters_that_are_held_are_not_shown_as_searched(sample, study):
    content = sample.plan(fixed={"schedule": "cosine"})
    for parameter in content["space"]["parameters"]:
        if parameter["name"] == "train_share":
            parameter |= {"searched": False, "default": 1.0}
    names = [parameter["name"] for parameter in content["space"]["parameters"]]
    page = Page(render(study([], plan_content=content)))
    assert "schedule held at cosine" in page.words
    assert "train_share held at 1 " in page.words
    assert f"{len(names) - 2} parameters" in page.words.replace("\u00a0", " ")


def test_a_member_of_the_front_is_found_as_a_complete_trial(sample, study):
    page = render(study([sample.trial(sample.params(), accuracy=77.0, ratio=3.0)]))
    assert 'class="status front" data-status="complete">on the front<' in page
