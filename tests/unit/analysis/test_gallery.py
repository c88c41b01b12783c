"""Illustrations in a report: part of the page, checked before they are, and never markup."""

import base64
import json
import re
import shutil
from dataclasses import replace

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from analysis.illustration import (
    ATTR_ILLUSTRATIONS,
    ILLUSTRATIONS_FOLDER,
    Illustration,
    IllustrationColumn,
    IllustrationRow,
    Picture,
    read_pictures,
)
from analysis.record import RecordReadError, read_record
from analysis.report import render, write_report
from analysis.sections.gallery import gallery_section

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(40))
EVIL = """</figure><img src=x onerror=alert(1)>"'&amp;"""


def picture(file="saliency-0-0-ab12.png", **changes):
    base = {"width": 28, "height": 28, "alt": "a map", "note": "cat", "right": True}
    return Picture(file=file, **{**base, **changes})


def illustration(*pictures, **changes):
    made = Illustration(
        name="saliency",
        title="Where the networks look",
        caption="One.\nTwo.",
        trials=(3, 4),
        columns=tuple(IllustrationColumn(f"column {n}", "note") for n in range(len(pictures))),
        rows=(IllustrationRow(pictures),),
    )
    return replace(made, **changes)


def put(folder, made, files):
    """Writes an illustration into a record as a study does, and its files."""
    study = optuna.load_study(
        study_name="pareto-demo",
        storage=JournalStorage(JournalFileBackend(str(folder / "journal.log"))),
    )
    study.set_user_attr(ATTR_ILLUSTRATIONS, [made.to_json()])
    (folder / ILLUSTRATIONS_FOLDER).mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / ILLUSTRATIONS_FOLDER / name).write_bytes(content)
    return folder


@pytest.fixture
def folder(sample, tmp_path):
    trial = sample.trial(sample.params(), accuracy=77.0, ratio=3.0)
    return sample.write_record(tmp_path / "study", [trial])


def test_an_illustration_reads_back_as_it_was_stored():
    made = illustration(picture(), picture("b.png", right=None))
    assert Illustration.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_a_report_holds_its_pictures_and_stays_whole_when_copied(folder, tmp_path):
    one, other = picture(), picture("saliency-0-1-cd34.png", note="dog", right=False)
    put(folder, illustration(one, other), {one.file: PNG, other.file: PNG + b"2"})
    write_report(folder)
    html = (folder / "report" / "index.html").read_text(encoding="utf-8")
    sources = re.findall(r'<img src="data:image/png;base64,([^"]*)"', html)
    assert [base64.b64decode(source) for source in sources] == [PNG, PNG + b"2"]
    assert "Where the networks look" in html
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    shutil.rmtree(folder)
    write_report(copy)
    assert (copy / "report" / "index.html").read_text(encoding="utf-8") == html


def test_what_is_predicted_is_marked_in_words_as_well():
    made = illustration(picture(note="cat"), picture(note="dog", right=False), picture(right=None))
    html = gallery_section([made], {picture().file: PNG})
    assert html.count(">right: </span>cat") == 1
    assert html.count(">wrong: </span>dog") == 1
    assert html.count("<figure") == 1
    assert "<p>One.</p><p>Two.</p>" in html


@pytest.mark.parametrize(
    ("width", "height", "shown"),
    [
        (8, 8, 'width="112" height="112" class=small'),
        (28, 28, 'width="112" height="112" class=small'),
        (32, 16, 'width="96" height="48" class=small'),
        (64, 64, 'width="112" height="112">'),
        (128, 64, 'width="112" height="56">'),
    ],
)
def test_small_pictures_are_enlarged_by_whole_numbers(width, height, shown):
    made = illustration(picture(width=width, height=height))
    assert shown in gallery_section([made], {picture().file: PNG})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("../plan.png", PNG),
        ("/etc/passwd", PNG),
        ("a/b.png", PNG),
        ("A.png", PNG),
        (".hidden.png", PNG),
        ("text.png", b"root:x:0:0"),
        ("large.png", PNG + bytes(1 << 18)),
    ],
)
def test_nothing_but_small_pngs_of_the_folder_comes_into_the_page(tmp_path, name, content):
    folder = tmp_path / ILLUSTRATIONS_FOLDER
    (folder / "a").mkdir(parents=True)
    if not name.startswith("/"):
        (folder / name).write_bytes(content)
    assert read_pictures(tmp_path, [illustration(picture(name))]) == {}


def test_links_and_missing_files_are_left_out_and_said_to_be_missing(tmp_path):
    folder = tmp_path / ILLUSTRATIONS_FOLDER
    folder.mkdir()
    (tmp_path / "far.png").write_bytes(PNG)
    (folder / "link.png").symlink_to(tmp_path / "far.png")
    made = illustration(picture("link.png"), picture("gone.png"))
    assert read_pictures(tmp_path, [made]) == {}
    assert gallery_section([made], {}).count("picture missing") == 2


def test_names_cannot_become_markup(folder):
    evil = picture(alt=EVIL, note=EVIL)
    made = illustration(evil, title=EVIL, caption=EVIL, columns=(IllustrationColumn(EVIL, EVIL),))
    put(folder, made, {evil.file: PNG})
    html = render(read_record(folder), {evil.file: PNG})
    assert html.count("<img") == 1
    assert "onerror=alert(1)>" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html


def test_a_damaged_illustration_is_named(folder):
    put(folder, illustration(picture()), {})
    study = optuna.load_study(
        study_name="pareto-demo",
        storage=JournalStorage(JournalFileBackend(str(folder / "journal.log"))),
    )
    study.set_user_attr(ATTR_ILLUSTRATIONS, [{"name": "saliency"}])
    with pytest.raises(RecordReadError, match="'title' is missing"):
        read_record(folder)


def test_a_study_without_illustrations_has_no_section(realistic):
    assert gallery_section((), {}) is None
    assert "illustrations" not in re.findall(r'<section id="([a-z]+)"', render(realistic))
