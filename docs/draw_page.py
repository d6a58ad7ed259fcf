"""Draw the README's picture of the page of cells, docs/page.png, in an installed Chromium.

python docs/draw_page.py runs/demo/out/06_explore/report.html
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def main(page: str) -> None:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        sys.exit(f"no browser found: install one of {', '.join(BROWSERS)}")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])  # it may be root who calls
        opened = browser.new_page(viewport={"width": 1200, "height": 760}, color_scheme="light")
        opened.goto(Path(page).absolute().as_uri())
        opened.wait_for_function("document.querySelector('#cells button') && document.fonts.ready")
        opened.keyboard.press("ArrowDown")  # a cell, with its probabilities
        opened.wait_for_timeout(500)  # until pictures are decoded
        content = opened.screenshot()
        browser.close()
    picture = (
        Image.open(io.BytesIO(content))
        .convert("RGB")
        .quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    )
    picture.save(Path(__file__).with_name("page.png"), optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
