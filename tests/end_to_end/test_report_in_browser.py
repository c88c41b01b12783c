"""The report as a reader meets it: a file opened in a real Chromium."""

import asyncio
import contextlib
import runpy
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from choreographer import Browser
from playwright.sync_api import TimeoutError as NotYet

from analysis.illustration import ATTR_ILLUSTRATIONS, ILLUSTRATIONS_FOLDER, IllustrationColumn
from analysis.report import write_report
from analysis.single_charts import write_charts
from study.distillation.pictures import heat_png
from study.drawing import Drawing, DrawnCell
from study.illustrations import store
from study.record import StudyRecord

pytestmark = pytest.mark.browser

SAMPLE = Path(__file__).parents[1] / "unit" / "analysis" / "sample_record.py"
WAIT_MS = 150_000
EVIL = """</script><img src=x onerror="document.title='broken'">%{x}"""


@pytest.fixture(scope="module")
def sample():
    return SimpleNamespace(**runpy.run_path(str(SAMPLE)))


@pytest.fixture(scope="module")
def report(sample, tmp_path_factory):
    folder = sample.realistic(tmp_path_factory.mktemp("browser") / "pareto-demo")
    return write_report(folder)[0]


@pytest.fixture(scope="module")
def large_report(sample, tmp_path_factory):
    """A report of 1,000 trials."""
    return write_report(sample.large(tmp_path_factory.mktemp("browser") / "large", 1000))[0]


@pytest.fixture
def visit(chromium):
    """Opens a file; afterwards, checks that nothing was complained of and nothing was loaded."""
    contexts, complaints, requests = [], [], []

    def open_page(path, *, width=1280, scheme="light", touch=False):
        context = chromium.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, has_touch=touch
        )
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready=yes]", state="attached")
        expected.append(path.as_uri())
        return page

    expected = []
    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == expected


def points(page, chart, trace):
    """Marks drawn of one trace, by the trace's name."""
    return page.evaluate(
        """([chart, name]) => {
          const box = document.getElementById("chart-" + chart);
          const drawn = [...box.querySelectorAll(".scatterlayer .trace")];
          const order = box._fullData.filter((t) => t.visible === true);
          const index = order.findIndex((t) => t.name === name);
          return index < 0 ? 0 : drawn[index].querySelectorAll(".points path").length;
        }""",
        [chart, trace],
    )


def until(page, condition):
    """Waits for a condition; Playwright's own wait would need eval, which the page forbids."""
    deadline = time.monotonic() + WAIT_MS / 1000
    while time.monotonic() < deadline:
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never came true: {condition}")


def first_column(page, table):
    return page.eval_on_selector_all(
        f"#{table} tbody th b", "cells => cells.map((cell) => cell.textContent)"
    )


def test_the_front_is_drawn(visit, report):
    page = visit(report)
    assert points(page, "front", "front") == 9
    assert points(page, "front", "teacher") == 1
    assert points(page, "front", "dominated") + points(page, "front", "no distillation") == 18
    names = page.locator("#chart-front .textpoint text").all_text_contents()
    assert {"t0000", "t0033", "teacher"} <= set(names)
    assert page.locator("#chart-curves .scatterlayer .trace").count() == 6
    assert page.locator("#chart-front .annotation-arrow-g").count() == 3  # one lies out of view


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_and_follows_the_readers_colours(visit, report, tmp_path, width, scheme):
    page = visit(report, width=width, scheme=scheme, touch=width < 500)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    chart = page.locator("#chart-front .main-svg").first.bounding_box()
    assert (0.55 if width > 500 else 0.8) * width < chart["width"] <= width
    if width > 500:  # the whole front is on the first screen
        assert chart["y"] + chart["height"] < 800
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}[scheme]
    fill = page.evaluate("document.querySelector('#chart-front').layout.xaxis.tickfont.color")
    assert fill == {"light": "#59636e", "dark": "#9ba5b0"}[scheme]
    shot = tmp_path / f"report-{width}-{scheme}.png"
    page.screenshot(path=shot, full_page=True)
    assert shot.stat().st_size > 50_000


def test_a_change_of_the_readers_colours_redraws_the_charts(visit, report):
    page = visit(report, scheme="light")
    page.emulate_media(color_scheme="dark")
    until(page, "document.querySelector('#chart-front').layout.font.color === '#e6e9ec'")
    assert points(page, "front", "front") == 9


def test_columns_sort_by_number_with_mouse_and_keyboard(visit, report):
    page = visit(report)
    fastest_first = first_column(page, "front-table")
    accuracy = page.locator("#front-table th button", has_text="Validation")
    accuracy.click()
    assert accuracy.locator("..").get_attribute("aria-sort") == "ascending"
    assert first_column(page, "front-table") == fastest_first
    accuracy.focus()
    page.keyboard.press("Enter")
    assert accuracy.locator("..").get_attribute("aria-sort") == "descending"
    assert first_column(page, "front-table") == [
        "t0000", "t0021", "t0034", "t0001", "t0002", "t0004", "t0032", "t0035", "t0033",
    ]  # fmt: skip
    page.locator("#front-table th button", has_text="KD gain").click()
    assert first_column(page, "front-table")[:2] == ["t0021", "t0004"]  # the others have none
    time = page.locator("#trials-table th button", has_text="Training")
    time.click()
    time.click()
    seconds = page.eval_on_selector_all(
        "#trials-table tbody tr", "rows => rows.map((row) => Number(row.cells[11].dataset.order))"
    )
    assert len(seconds) == 48
    assert seconds == sorted(seconds, reverse=True)


def test_the_filter_keeps_trials_that_hold_every_word(visit, report):
    page = visit(report)
    page.fill("input[data-table=trials-table]", "stopped, cosine")
    shown = page.locator("#trials-table tbody tr:visible")
    texts = shown.all_text_contents()
    assert 0 < len(texts) < 48
    assert all("stopped" in text and "cosine" in text for text in texts)
    assert page.locator("#trials-table-count").text_content() == f"{len(texts)} of 48\u00a0trials"
    page.fill("input[data-table=trials-table]", "")
    assert shown.count() == 48


def test_the_key_hides_and_shows_a_group(visit, report):
    page = visit(report)
    key = page.locator("button.key.dominated[data-chart=front]")
    before = points(page, "front", "dominated")
    key.click()
    assert key.get_attribute("aria-pressed") == "false"
    until(page, "document.querySelector('#chart-front')._fullData[1].visible === false")
    assert points(page, "front", "dominated") == 0
    key.click()
    until(page, "document.querySelector('#chart-front')._fullData[1].visible === true")
    assert points(page, "front", "dominated") == before > 0


def test_low_trials_come_into_view_when_asked_for(visit, report):
    page = visit(report)
    lowest = "document.querySelector('#chart-front')._fullLayout.yaxis.range[0]"
    before = page.evaluate(lowest)
    page.click("button.whole")
    until(page, f"{lowest} < 30")
    page.click("button.whole")
    until(page, f"{lowest} === {before}")


def test_a_zoomed_latency_axis_keeps_plain_ticks(visit, report):
    page = visit(report)
    page.evaluate(
        "Plotly.relayout('chart-front', {'xaxis.range': [Math.log10(9.5), Math.log10(10.5)]})"
    )
    until(page, "document.querySelector('#chart-front')._fullLayout.xaxis.tickvals.includes(9.6)")
    texts = page.locator("#chart-front .xtick text").all_text_contents()
    assert texts == ["9.6", "9.8", "10", "10.2", "10.4"]


def test_pointing_at_a_mark_tells_its_configuration_and_runs_nothing(visit, sample, tmp_path):
    trial = sample.trial(sample.params(), accuracy=77.0, ratio=3.0, label=EVIL)
    trial["attributes"]["architecture"] = EVIL
    plan = sample.plan(EVIL)
    plan["space"]["objectives"][0]["label"] = EVIL
    plan["space"]["score"]["name"] = EVIL
    folder = sample.write_record(
        tmp_path / "study", [trial], plan_content=plan, teacher_content=sample.teacher(name=EVIL)
    )
    page = visit(write_report(folder)[0])
    drawn = page.locator("#chart-front .points path").first
    drawn.scroll_into_view_if_needed()
    mark = drawn.bounding_box()
    page.mouse.move(mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2)
    hover = page.locator("#chart-front .hoverlayer .hovertext")
    hover.wait_for()
    said = hover.text_content().replace("\u00a0", " ")
    assert EVIL in said
    assert "learning_rate: 0.05" in said
    assert " 77.0 %" in said
    assert page.locator("img").count() == 0
    assert EVIL in page.title()


def test_bars_of_parameters_and_flops_are_drawn_beside_each_other(visit, report):
    page = visit(report)
    for name in ("params", "flops"):
        assert page.locator(f"#chart-{name} .barlayer .point path").count() == 10
        values = page.locator(f"#chart-{name} .annotation-text").all_text_contents()
        assert values[0] == "teacher ResNet-50 [3,4,6,3]"
        assert values[1] == {"params": "23.5 M", "flops": "167 M"}[name]
    left, right = (page.locator(f"#chart-{name}").bounding_box() for name in ("params", "flops"))
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] < right["x"]
    phone = visit(report, width=390, touch=True)
    upper, lower = (phone.locator(f"#chart-{name}").bounding_box() for name in ("params", "flops"))
    assert upper["y"] + upper["height"] <= lower["y"]


def test_pointing_at_a_bar_tells_its_share_of_the_teacher(visit, report):
    page = visit(report, scheme="dark")
    bar = page.locator("#chart-params .barlayer .point path").nth(9)  # the last: the slowest row
    bar.scroll_into_view_if_needed()
    box = bar.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    hover = page.locator("#chart-params .hoverlayer .hovertext")
    hover.wait_for()
    said = hover.text_content().replace("\u00a0", " ")
    assert "t0000 Baseline" in said
    assert "22.1 M parameters, 94 % of the teacher's" in said
    ink = page.evaluate("document.querySelector('#chart-params').layout.annotations[1].font.color")
    assert ink == "#e6e9ec"


@pytest.fixture(scope="module")
def illustrated(sample, tmp_path_factory):
    """A report with pictures whose words are markup; made as a study makes them."""
    folder = tmp_path_factory.mktemp("illustrated") / "pareto-demo"
    sample.write_record(folder, [sample.trial(sample.params(), accuracy=77.0, ratio=3.0)])
    shades = np.linspace(0, 1, 64).reshape(8, 8)
    pictures = [heat_png(shades), heat_png(shades.T), heat_png(shades[:, ::-1])]
    cells = [
        DrawnCell(png, EVIL, EVIL, None if n == 0 else n == 1) for n, png in enumerate(pictures)
    ]
    columns = tuple(IllustrationColumn(title, EVIL) for title in ("Test image", "Teacher", EVIL))
    drawing = Drawing(EVIL, EVIL, columns, (tuple(cells),))
    made = store(folder / ILLUSTRATIONS_FOLDER, "saliency", (), drawing)
    record = StudyRecord(folder, "pareto-demo", None)
    record.set_attribute(ATTR_ILLUSTRATIONS, [made.to_json()])
    return write_report(folder)[0]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_pictures_are_part_of_the_page_and_fit(visit, illustrated, width, scheme):
    page = visit(illustrated, width=width, scheme=scheme)
    shown = page.evaluate(
        """[...document.querySelectorAll("#illustrations img")].map((image) => [
          image.naturalWidth, getComputedStyle(image).imageRendering, image.alt,
          image.getBoundingClientRect().width, image.getBoundingClientRect().height,
        ])"""
    )
    assert len(shown) == 3
    for natural, rendering, alt, wide, tall in shown:
        assert (natural, rendering, alt) == (8, "pixelated", EVIL)
        assert wide == pytest.approx(tall)
        assert wide == pytest.approx(shown[0][3], abs=1)
        assert wide == 112 if width == 1280 else wide > 80
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.title() != "broken"
    assert (
        page.locator("#illustrations .wrong").text_content().startswith("✗\u00a0wrong: </script>")
    )


def test_a_chart_is_saved_as_a_file_and_sent_nowhere(visit, report):
    page = visit(report)
    page.hover("#chart-front .nsewdrag")
    titles = page.eval_on_selector_all(
        "#chart-front .modebar-btn", "buttons => buttons.map((b) => b.dataset.title)"
    )
    assert len(titles) == 4
    assert not any("cloud" in title.lower() or "share" in title.lower() for title in titles)
    with page.expect_download() as download:
        page.click(f"#chart-front .modebar-btn[data-title='{titles[0]}']")
    assert download.value.path().read_text().startswith("<svg")


def test_a_thousand_trials_are_drawn(visit, large_report):
    page = visit(large_report)
    assert page.locator("#trials-table tbody tr").count() == 1000
    assert points(page, "front", "front") == 22
    shapes = page.locator("#chart-curves .scatterlayer .trace").count()
    assert shapes <= 6


def test_printing_uses_light_paper_and_shows_whole_tables(visit, report, tmp_path):
    page = visit(report, scheme="dark")
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    until(page, "document.querySelector('#chart-front').layout.font.color === '#1b1f24'")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(
        "[...document.querySelectorAll('.scroll')].every((s) => s.scrollHeight <= s.clientHeight)"
    )
    assert (tmp_path / "report.pdf").stat().st_size > 50_000


@pytest.mark.parametrize("axis", ["ratio", "params", "flops"])
def test_the_front_is_drawn_over_another_axis(visit, report, axis):
    page = visit(report)
    drawn = "document.querySelector('#chart-front')"
    before = page.evaluate(f"{drawn}._fullLayout.xaxis.range")
    marks = points(page, "front", "front")
    page.locator(f"input[name=axis][value={axis}]").check(force=True)
    title = {"ratio": "Speed-up", "params": "Parameters, M", "flops": "FLOPs of one example, M"}
    until(page, f"{drawn}._fullLayout.xaxis.title.text.startsWith('{title[axis]}')")
    assert page.evaluate(f"{drawn}._fullLayout.xaxis.range") != before
    assert points(page, "front", "front") == marks
    assert page.locator("#chart-front .annotation-arrow-g").count() == 3
    page.locator("input[name=axis][value=latency]").focus()
    page.keyboard.press("Space")
    until(page, f"String({drawn}._fullLayout.xaxis.range) === '{','.join(map(str, before))}'")


def click_on(page, trial):
    """Click on a trial's mark on the front, once the chart answers there."""
    for _ in range(10):  # while charts above are still drawn, they move it
        place = page.evaluate(
            """(trial) => {
              const box = document.querySelector("#chart-front");
              const trace = box._fullData.find((t) => t.name === "front");
              const i = trace.customdata.indexOf(trial);
              const area = box.getBoundingClientRect();
              const { xaxis, yaxis } = box._fullLayout;
              return [area.x + xaxis._offset + xaxis.d2p(trace.x[i]),
                      area.y + yaxis._offset + yaxis.d2p(trace.y[i])];
            }""",
            trial,
        )
        page.mouse.move(0, 0)
        page.mouse.move(*place, steps=3)
        hover = page.locator("#chart-front .hoverlayer .hovertext", has_text=trial)
        with contextlib.suppress(NotYet):
            hover.wait_for(timeout=3000)
            page.mouse.click(*place)
            page.locator("tr.picked-trial").first.wait_for(state="attached", timeout=3000)
            return
    raise AssertionError(f"a click on {trial} marks nothing")


def test_a_clicked_mark_marks_its_row_and_a_clicked_row_its_mark(visit, report):
    page = visit(report)
    mark = page.locator("#chart-front .points path").last.bounding_box()  # the teacher: no row
    page.mouse.click(mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2)
    assert page.locator(".picked-trial").count() == 0
    click_on(page, "t0000")
    assert page.locator("tr.picked-trial").count() >= 2
    assert page.locator("#trials-table tr.picked-trial b").text_content() == "t0000"
    assert "t0000" in page.locator("#picked").text_content()
    page.locator("#picked button").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.matches('#trials-table tr.picked-trial')")
    assert points(page, "front", "picked") == 0  # it has no name, and is there:
    page.locator("#trials-table tbody tr", has_text="t0004").first.locator("td").nth(3).click()
    until(page, "document.querySelector('#picked').textContent.startsWith('t0004')")
    ring = "document.querySelector('#chart-front')._fullData.filter((t) => t.meta.key === 'picked')"
    assert page.evaluate(f"{ring}.map((t) => t.y.length)") == [1]
    assert page.locator("svg .picked-trial").count() > 0  # in slices and parallel coordinates
    page.keyboard.press("Escape")
    until(page, f"{ring}.length === 0")


def test_a_trial_is_picked_by_keyboard_at_one_stop_of_its_table(visit, large_report):
    page = visit(large_report)
    stops = "document.querySelectorAll('#trials-table [tabindex=\"0\"]').length"
    assert page.evaluate(stops) == 1
    page.locator("#trials-table [tabindex='0']").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowUp"):
        page.keyboard.press(key)
    focused = "document.activeElement.textContent"
    assert page.evaluate(focused) == "t0001"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#picked').textContent.startsWith('t0001')")
    assert page.locator("#trials-table tr.picked-trial b").text_content() == "t0001"
    page.keyboard.press("End")
    assert page.evaluate(focused) == "t0999"
    assert page.evaluate(stops) == 1
    page.locator("input[data-table=trials-table]").fill("stopped")
    assert page.evaluate(stops) == 1
    assert "stopped" in page.locator("#trials-table tr:has([tabindex='0'])").text_content()
    page.keyboard.press("Escape")
    assert page.locator("tr.picked-trial").count() == 0


def test_what_became_of_a_copy_is_said_in_a_status_line(visit, report):
    page = visit(report)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("[data-copy=front-table][data-format=csv]").click()
    status = "document.querySelector('#announced[role=status]').textContent"
    until(page, f"{status} === 'Copied Students on the front as CSV'")
    until(page, f"{status} === ''")


def test_tables_are_copied_as_they_stand(visit, report):
    page = visit(report)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    copied = {}
    for name in ("CSV", "Markdown", "LaTeX"):
        button = page.locator(f"[data-copy=published-table][data-format={name.lower()}]")
        button.click()
        until(page, f"document.querySelector('[data-format={name.lower()}][data-copied]')")
        copied[name] = page.evaluate("navigator.clipboard.readText()")
    csv, markdown, latex = (copied[name].splitlines() for name in ("CSV", "Markdown", "LaTeX"))
    assert len(csv) == 10
    assert csv[0].startswith('Row,"Accuracy, %, published"')
    assert csv[1].startswith("Baseline t0000,79.3,80.7,+1.4,400,294,-106,6.58,1.98 1.90–2.04")
    assert markdown[1].count("---") == 11
    assert latex[0] == "\\begin{tabular}{lrrrrrrrrrr}"
    assert latex[4].startswith("Baseline t0000 & 79.3 & 80.7 & +1.4 & 400 & 294 & $-$106")


CONTRAST = """(() => {
  const parse = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.5) return colour;
    }
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || element.closest("script, style, title")) continue;
    if (!element.checkVisibility() || element.closest(".unseen, .quiet, caption")) continue;
    const style = getComputedStyle(element);
    const svg = element instanceof SVGElement;
    const ink = parse(svg ? style.fill : style.color);
    const pair = [light(ink), light(ground(element))].sort((a, b) => b - a);
    const words = walker.currentNode.textContent.trim().slice(0, 30);
    found.push([(pair[0] + 0.05) / (pair[1] + 0.05), words]);
  }
  found.sort((one, other) => one[0] - other[0]);
  return [found.length, found[0]];
})()"""


# A script that a page runs to tell how fast the machine computes; and its seconds on the one whose
# figures analysis/README.md has.
YARDSTICK, ITS_SECONDS = (
    "for (let i = 0, text = ''; i < 4e6; i++) text = String(i * 1.1)",
    0.25,
)


async def drawn(chromium_path, path, scheme):
    """Seconds of the page's main thread until every chart is drawn, whatever else the machine does.

    Returns them with how many times as long as there the yardstick takes here, at least once.

    Playwright has Chromium collect the stack of every exception, those that Plotly's script throws
    and catches as it starts included, and each time V8 parses the whole script again: nearly a
    second that no reader waits for. So this page is opened without it.
    """
    async with Browser(chromium_path) as browser:
        tab = await browser.create_tab("about:blank")
        size = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        await tab.send_command("Emulation.setDeviceMetricsOverride", size)
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        await tab.send_command("Emulation.setEmulatedMedia", {"features": media})
        await tab.send_command("Performance.enable", {"timeDomain": "threadTicks"})

        async def computed():
            told = await tab.send_command("Performance.getMetrics")
            metrics = {one["name"]: one["value"] for one in told["result"]["metrics"]}
            return metrics["TaskDuration"]

        before = await computed()
        await tab.send_command("Runtime.evaluate", {"expression": YARDSTICK})
        slower = max(1.0, (await computed() - before) / ITS_SECONDS)
        await tab.send_command("Page.navigate", {"url": path.as_uri()})
        ready = {"expression": "document.documentElement.dataset.ready"}
        async with asyncio.timeout(WAIT_MS / 1000):
            while True:
                told = await tab.send_command("Runtime.evaluate", ready)
                if told["result"]["result"].get("value") == "yes":
                    break
                await asyncio.sleep(0.1)
        return await computed(), slower


def measured(chromium, path, scheme):
    """What can be measured of a page."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
    context.set_default_timeout(WAIT_MS)
    page, requests, complaints = context.new_page(), [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready=yes]", state="attached")
    figures = {
        "size, MB": path.stat().st_size / 1e6,
        "requests": len([url for url in requests if not url.startswith("data:")]) - 1,
        "complaints": len(complaints),
        "least contrast": page.evaluate(CONTRAST)[1][0],
        "words": page.evaluate(CONTRAST)[0],
        "elements": page.evaluate("document.querySelectorAll('*').length"),
    }
    context.close()
    return figures


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_measured_figures_of_a_small_and_a_large_report(chromium, report, large_report, scheme):
    """With `-s`, prints the table that analysis/README.md holds."""
    for path in (report, large_report):
        figures = measured(chromium, path, scheme)
        told = ", ".join(f"{name} {figure:.3g}" for name, figure in figures.items())
        print(f"\n{scheme}: {told}", end="")
        assert figures["size, MB"] < 6
        assert figures["requests"] == figures["complaints"] == 0
        assert figures["least contrast"] >= 4.5
        assert figures["words"] > 1000


@pytest.mark.alone  # it measures seconds
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_measured_seconds_until_all_is_drawn(chromium_path, report, large_report, scheme):
    for path in (report, large_report):
        # Playwright's synchronous interface holds a running loop in this thread.
        with ThreadPoolExecutor(1) as thread:
            found = thread.submit(asyncio.run, drawn(chromium_path, path, scheme)).result()
        seconds, slower = found
        print(f"\n{scheme}: drawn, s {seconds:.3g}, {slower:.3g} times as slow a machine", end="")
        assert seconds < 3 * slower


def test_everything_is_reached_by_the_tabulator_in_the_order_of_the_page(visit, report):
    page = visit(report)
    tops, names = [], []
    for _ in range(14):
        page.keyboard.press("Tab")
        at = page.evaluate(
            """(() => { const at = document.activeElement;
            return [at.getBoundingClientRect().top + scrollY, at.tagName, at.textContent]; })()"""
        )
        tops.append(at[0])
        names.append(at[2] if at[1] == "BUTTON" else at[1])
    assert names[:4] == ["Front", "Dominated", "No distillation (hollow)", "Stopped early"]
    assert "Show all" in names
    assert "INPUT" in names  # the switch of the axis
    assert "A" in names  # the contents
    assert tops == sorted(tops)
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_a_browser_that_cannot_draw_says_so_and_keeps_the_tables(chromium, report):
    page = chromium.new_page()
    page.add_init_script("delete window.DecompressionStream")
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-ready=no]", state="attached")
    assert "cannot draw the chart" in page.locator("#chart-front").text_content()
    assert page.locator("#front-table tbody tr").count() == 9
    page.close()


def test_studies_beside_each_other(visit, sample, report, tmp_path):
    from analysis.compare import main

    other = sample.write_record(
        tmp_path / "other",
        [sample.trial(sample.params(), accuracy=90.0, ratio=2.2)],
        plan_content=sample.plan(EVIL),
    )
    path = tmp_path / "comparison.html"
    assert main([str(report.parents[1]), str(other), "--output", str(path)]) == 0
    page = visit(path, scheme="dark")
    assert page.locator("#chart-fronts .scatterlayer .trace").count() == 6
    assert page.locator("img").count() == 0
    assert page.evaluate(CONTRAST)[1][0] >= 4.5
    page.locator("button.key").first.click()
    until(page, "document.querySelector('#chart-fronts')._fullData[0].visible === false")
    narrow = visit(path, width=390, touch=True)
    assert narrow.evaluate("document.documentElement.scrollWidth") == 390


def test_charts_stand_alone(visit, report):
    folder = write_charts(report.parent.parent)
    drawn = {path.stem: visit(path, width=900) for path in folder.iterdir()}
    assert set(drawn) == {"front", "curves", "progress"}
    for name, page in drawn.items():
        assert page.locator(".js-plotly-plot").count() == 1
        assert page.locator(f"#chart-{name} .scatterlayer .trace").count() > 0
    front = drawn["front"]
    assert points(front, "front", "front") == 9
    front.locator("input[name=axis][value=params]").check(force=True)
    title = "document.querySelector('#chart-front')._fullLayout.xaxis.title.text"
    until(front, f"{title}.startsWith('Parameters')")
    assert drawn["curves"].title() == "pareto-demo · curves"


def test_charts_are_written_as_png(chromium, report, capsys):
    from PIL import Image

    from analysis.report import main

    assert main([str(report.parents[1]), "--format", "png"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    names = [Path(line).name for line in printed.out.splitlines()]
    assert names == [
        "front.png", "curves.png", "params.png", "flops.png", "progress.png", "recipes.png",
    ]  # fmt: skip
    for name in names:
        # Bars need a height of their own; there are ten of them, below a legend.
        height = 2 * (10 * 42 + 58 + 30) if name in ("params.png", "flops.png") else 1120
        assert Image.open(report.parent / name).size == (1800, height)
