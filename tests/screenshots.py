"""`python -m tests.screenshots`: the page as users meet it, for the docs: desktop, dark, phone, speaking, in error."""

import argparse
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from pipeline.spawn import spawned
from tests.chromium import CHROMIUM, FAKE_MICROPHONE, FLAGS, STATE, until
from tests.running import ROOT

DESKTOP, TALL, PHONE = (1280, 860), (1280, 1190), (390, 844)
SPEAKS_S = 6
QUALITY = 85


def page_of(browser: Browser, address: str, scheme: str, size: tuple[int, int]) -> Page:
    """The page, its face there, everything that can be opened open."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": size[0], "height": size[1]})  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(address)
    until(page, f"{STATE}.framesDrawn > 0")
    return page


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.screenshots", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    out = parser.parse_args().out
    with spawned() as server, sync_playwright() as playwright:
        address = server.url.replace("ws", "http", 1).removesuffix("/ws")
        hearing = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS + FAKE_MICROPHONE)
        refusing = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for name, scheme, size in (("desktop", "light", DESKTOP), ("dark", "dark", TALL), ("phone", "light", PHONE)):
            page = page_of(hearing, address, scheme, size)
            if name == "dark":
                page.evaluate("document.getElementById('inside').open = true")
            page.click("#microphone")
            page.wait_for_timeout(SPEAKS_S * 1000)
            page.screenshot(path=out / f"page-{name}.jpg", type="jpeg", quality=QUALITY)
            page.context.close()
        page = page_of(refusing, address, "light", DESKTOP)
        page.click("#microphone")
        until(page, f"{STATE}.lastError !== ''")
        page.screenshot(path=out / "page-error.jpg", type="jpeg", quality=QUALITY)
        hearing.close()
        refusing.close()


if __name__ == "__main__":
    main()
