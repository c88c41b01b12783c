"""The picture of a report in the README: its first screen, in a real Chromium.

python -m tests.benchmarks.report_picture studies/NAME/report/index.html analysis/example-report.png
"""

import argparse
import io
import shutil
import sys
from pathlib import Path

WIDTH, HEIGHT, SCALE = 1280, 850, 1.5
MOST_BYTES = 400_000
COLOURS = 256


def picture(page_file: Path, scheme: str) -> bytes:
    """The first screen as a PNG of few colours, which is a third of the size."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path)
        page = browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT},
            device_scale_factor=SCALE,
            color_scheme=scheme,
        )
        page.goto(page_file.resolve().as_uri())
        page.wait_for_selector("html[data-ready=yes]", state="attached")
        content = page.screenshot()
        browser.close()
    few = Image.open(io.BytesIO(content)).convert("RGB").quantize(COLOURS)
    out = io.BytesIO()
    few.save(out, "PNG", optimize=True)
    return out.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.report_picture")
    parser.add_argument("page", type=Path, help="report/index.html of a study")
    parser.add_argument("out", type=Path, help="the PNG file")
    parser.add_argument("--scheme", choices=("light", "dark"), default="light")
    asked = parser.parse_args()
    content = picture(asked.page, asked.scheme)
    if len(content) > MOST_BYTES:
        print(f"{len(content):,} bytes are more than {MOST_BYTES:,}", file=sys.stderr)
        return 1
    asked.out.write_bytes(content)
    print(f"{asked.out}: {len(content):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
