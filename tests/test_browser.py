"""The page in a real headless Chromium: it shows the face, plays the sample in sync, and hears the microphone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.running import ROOT, Pipeline, kill, wait_until

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
AV_OFFSET_MS = 45.0  # ITU-R BT.1359: sound 45 ms ahead of its picture begins to be noticed
STATE = "window.lipwire.state"


def until(page: Page, condition: str) -> None:
    """Poll from outside: the page's own policy forbids the eval that Playwright's wait_for_function needs."""
    wait_until(lambda: bool(page.evaluate(condition)), within_s=40)


@pytest.fixture(scope="module")
def browsers() -> Iterator[dict[str, Browser]]:
    assert Path(CHROMIUM).exists(), "Chromium is missing: run scripts/system-packages.sh"
    with sync_playwright() as playwright:
        started = {
            "with microphone": playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS + FAKE_MICROPHONE),
            "refusing": playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS),
        }
        yield started
        for browser in started.values():
            browser.close()


@pytest.fixture
def page(browsers: dict[str, Browser], pipeline: Pipeline) -> Iterator[Page]:
    with browsers["with microphone"].new_page() as opened:
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.goto(pipeline.address)
        until(opened, f"{STATE}.framesDrawn > 0")
        yield opened
        assert errors == []


def state(page: Page) -> dict[str, Any]:
    return dict(page.evaluate(STATE))


def test_the_face_is_there_before_anything_is_played(page: Page) -> None:
    lit = page.evaluate(
        "[...document.getElementById('face').getContext('2d').getImageData(156, 156, 200, 200).data]"
        ".reduce((sum, value) => sum + value, 0) / (200 * 200 * 4)"
    )
    assert lit > 60


def test_the_sample_speaks_in_step_with_its_sound(page: Page) -> None:
    page.click("#sample")
    until(page, f"{STATE}.framesReceived >= 75")
    while_playing = state(page)
    assert while_playing["source"] == "sample"
    assert while_playing["framesDrawn"] > 25
    assert abs(while_playing["avOffsetMs"]) <= AV_OFFSET_MS
    until(page, f"{STATE}.source === 'none'")


def test_the_microphone_is_heard(page: Page) -> None:
    page.click("#microphone")
    until(page, f"{STATE}.framesReceived >= 50")
    until(page, "document.getElementById('level').value > 0.05")
    page.click("#microphone")
    assert state(page)["source"] == "none"


def test_a_refused_microphone_is_explained(browsers: dict[str, Browser], pipeline: Pipeline) -> None:
    with browsers["refusing"].new_page() as page:
        page.goto(pipeline.address)
        until(page, f"{STATE}.connection === 'connected'")
        page.click("#microphone")
        until(page, f"{STATE}.lastError !== ''")
        assert "microphone" in state(page)["lastError"].lower()


def test_every_installed_speaker_can_be_chosen(page: Page) -> None:
    until(page, "document.getElementById('speaker').options.length > 0")
    for name in page.evaluate("[...document.getElementById('speaker').options].map((option) => option.value)"):
        before = state(page)["framesDrawn"]
        page.select_option("#speaker", name)
        until(page, f"{STATE}.framesDrawn > {before}")


def test_the_page_comes_back_with_the_edge(page: Page, pipeline: Pipeline) -> None:
    pid = pipeline.pid_of("edge")
    kill(pid)
    until(page, f"{STATE}.connection === 'waiting'")
    assert "again" in state(page)["lastError"]
    wait_until(lambda: state(page)["connection"] == "connected")
    pipeline.wait_ready(pid)
