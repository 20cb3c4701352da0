"""A headless Chromium whose microphone hears the page's sample: for the page's tests, screenshots and figures."""

from playwright.sync_api import Page

from tests.running import ROOT, wait_until

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
FAKE_MICROPHONE = [
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    f"--use-file-for-fake-audio-capture={ROOT / 'webclient' / 'sample.wav'}",
]
REFUSED_MICROPHONE = ["--use-fake-device-for-media-stream", "--deny-permission-prompts"]
STATE = "window.lipwire.state"
WAIT_S = 40


def until(page: Page, condition: str) -> None:
    """Poll from outside: the page's own policy forbids the eval that Playwright's wait_for_function needs."""
    wait_until(lambda: bool(page.evaluate(condition)), within_s=WAIT_S)
