"""The page in a real headless Chromium: it shows the face, plays the sample in sync, and hears the microphone.

The fake microphone of Chromium hears sample.wav, over and over.
"""

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from models.speaker import SPEAKERS_DIR
from pipeline.audio import FRAME_RATE_HZ
from tests.chromium import CHROMIUM, FAKE_MICROPHONE, FLAGS, REFUSED_MICROPHONE, STATE, until
from tests.faulty import BROKEN, LAST_WORDS, crash_loop_config
from tests.running import ROOT, Pipeline, config_with, kill, running, wait_until

AV_OFFSET_MS = 45.0  # ITU-R BT.1359: sound 45 ms ahead of its picture begins to be noticed
LIVE_S = 30
DRAWN_SHARE = 0.98
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
JPEG_ERROR = 3.0  # mean over the mouth, of 255: the patch is coded once, the whole frame as well
ENOUGH_OF_TEN = 8  # base frames of test mode: two such sets share six at least
PIXELS = """(() => {
    const { display } = window.lipwire.face;
    const pixels = display.context.getImageData(176, 260, 160, 160).data;
    return [display.lastBase, Array.from(pixels).filter((_, index) => index % 61 === 0)];
})()"""


@pytest.fixture(scope="module")
def browsers() -> Iterator[dict[str, Browser]]:
    assert Path(CHROMIUM).exists(), "Chromium is missing: run scripts/system-packages.sh"
    with sync_playwright() as playwright:
        started = {
            "with microphone": playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS + FAKE_MICROPHONE),
            "without microphone": playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS),
            "refusing": playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *REFUSED_MICROPHONE]),
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


def in_step(page: Page, source: str) -> None:
    """It speaks, and the median of its last pictures is in step; a busy machine may stumble before that."""
    playing = f"{STATE}.source === '{source}' && {STATE}.framesReceived >= 75 && {STATE}.framesDrawn > 25"
    until(page, f"{playing} && Math.abs({STATE}.avOffsetMs) <= {AV_OFFSET_MS}")


def test_the_face_is_there_before_anything_is_played(page: Page) -> None:
    lit = page.evaluate(
        "[...document.getElementById('face').getContext('2d').getImageData(156, 156, 200, 200).data]"
        ".reduce((sum, value) => sum + value, 0) / (200 * 200 * 4)"
    )
    assert lit > 60


def test_the_sample_speaks_in_step_with_its_sound(page: Page) -> None:
    page.click("#sample")
    in_step(page, "sample")
    until(page, f"{STATE}.source === 'none'")


def test_the_microphone_is_heard(page: Page) -> None:
    page.click("#microphone")
    until(page, f"{STATE}.framesReceived >= 50")
    until(page, "document.getElementById('level').value > 0.05")
    page.click("#microphone")
    assert state(page)["source"] == "none"


def test_thirty_seconds_of_a_live_voice_are_drawn(page: Page) -> None:
    page.click("#microphone")
    until(page, f"{STATE}.framesDrawn >= 25")  # it runs
    before = state(page)
    began = time.monotonic()
    page.wait_for_timeout(LIVE_S * 1000)
    seconds = time.monotonic() - began
    after = state(page)
    drawn = after["framesDrawn"] - before["framesDrawn"]
    assert drawn >= DRAWN_SHARE * seconds * FRAME_RATE_HZ
    assert after["lastError"] == ""


def test_a_monitored_microphone_is_in_step_with_the_lips(page: Page) -> None:
    page.evaluate("document.getElementById('settings').open = true")
    page.check("#monitor")
    page.click("#microphone")
    in_step(page, "microphone")
    page.evaluate("document.getElementById('inside').open = true")
    until(page, "document.getElementById('offset').textContent.includes('ms')")


def test_an_unplugged_microphone_is_explained_and_can_be_started_again(page: Page) -> None:
    page.click("#microphone")
    until(page, f"{STATE}.framesReceived >= 10")
    # What a browser does when the device goes; Chromium's fake one cannot be pulled out.
    page.evaluate("window.lipwire.face.source.stream.getAudioTracks()[0].dispatchEvent(new Event('ended'))")
    until(page, f"{STATE}.source === 'none'")
    assert "unplugged" in state(page)["lastError"]
    before = state(page)["framesReceived"]
    page.click("#microphone")
    until(page, f"{STATE}.framesReceived >= {before + 10}")


def test_the_stages_are_charted_and_the_backend_is_named(page: Page) -> None:
    page.evaluate("document.getElementById('inside').open = true")
    page.click("#microphone")
    until(page, "document.querySelectorAll('#stack polygon').length === 5")
    until(page, "document.querySelectorAll('#stages tr').length === 5")
    until(page, "document.getElementById('backend').textContent.includes('onnxruntime')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 860), (390, 844)], ids=["desktop", "phone"])
def test_axe_finds_nothing_serious(
    browsers: dict[str, Browser], pipeline: Pipeline, scheme: Any, size: tuple[int, int]
) -> None:
    context = browsers["without microphone"].new_context(
        bypass_csp=True,  # axe is put into the page from outside
        color_scheme=scheme,
        viewport={"width": size[0], "height": size[1]},
    )
    with context, context.new_page() as page:
        page.goto(pipeline.address)
        until(page, f"{STATE}.framesDrawn > 0")
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        page.click("#microphone")
        until(page, "document.getElementById('message').dataset.kind === 'error'")
        page.evaluate(AXE.read_text(encoding="utf-8"))
        found = page.evaluate("axe.run()")
        assert found["passes"], "axe looked at nothing"
        grave = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in grave] == []


def choose_transport(page: Page, transport: str, view: str = "full") -> None:
    page.evaluate("document.getElementById('settings').open = true")
    page.select_option("#transport", transport)
    if transport == "live":
        page.select_option("#view", view)


@pytest.mark.parametrize(("transport", "view"), [("live", "patch"), ("binary", "full"), ("json", "full")])
def test_each_transport_draws_test_mode(page: Page, transport: str, view: str) -> None:
    choose_transport(page, transport, view)
    page.click("#test")
    before = state(page)["framesDrawn"]
    until(page, f"{STATE}.framesDrawn >= {before + 25}")  # ids 0..9 come round twice: none freezes the picture
    assert state(page)["lastError"] == ""
    assert (state(page)["saving"] > 0.5) == (view == "patch")


def test_a_transport_can_be_changed_while_the_microphone_is_live(page: Page) -> None:
    page.click("#microphone")
    for transport in ("binary", "json", "live"):
        choose_transport(page, transport)
        before = state(page)["framesDrawn"]
        until(page, f"{STATE}.framesDrawn >= {before + 10}")
    assert state(page)["source"] == "microphone"
    assert state(page)["lastError"] == ""


def test_patches_give_the_pixels_of_whole_frames(page: Page) -> None:
    """Test mode paints the same sound for ever; its ten base frames repeat: both views show the same ten."""
    settled = []
    for view in ("full", "patch"):
        choose_transport(page, "live", view)
        page.click("#test")
        before = state(page)["framesDrawn"]
        until(page, f"{STATE}.framesDrawn >= {before + 30}")  # the smoothed mouth has arrived
        seen: dict[int, list[int]] = {}
        deadline = time.monotonic() + 20
        while len(seen) < ENOUGH_OF_TEN and time.monotonic() < deadline:
            shown, pixels = page.evaluate(PIXELS)
            seen[shown] = pixels
        settled.append(seen)
        page.click("#test")
    both = settled[0].keys() & settled[1].keys()
    assert len(both) >= 6
    for index in both:
        difference = [abs(a - b) for a, b in zip(settled[0][index], settled[1][index], strict=True)]
        assert sum(difference) / len(difference) < JPEG_ERROR


def test_a_file_that_is_no_audio_is_explained(page: Page) -> None:
    page.set_input_files("#file", {"name": "notes.wav", "mimeType": "audio/wav", "buffer": b"not a sound"})
    until(page, f"{STATE}.lastError !== ''")
    assert "notes.wav" in state(page)["lastError"]
    assert state(page)["source"] == "none"


def test_a_file_of_ones_own_speaks_in_step(page: Page) -> None:
    page.set_input_files("#file", ROOT / "webclient" / "sample.wav")
    in_step(page, "file")
    page.click("#choose")
    assert state(page)["source"] == "none"


def test_it_works_as_a_browser_source(browsers: dict[str, Browser], pipeline: Pipeline) -> None:
    with browsers["with microphone"].new_page() as page:
        page.goto(pipeline.address + "/?autostart=1&ui=0")
        until(page, f"{STATE}.source === 'microphone' && {STATE}.framesDrawn >= 25")
        assert not page.is_visible("#panel")


def test_another_page_can_watch(browsers: dict[str, Browser], pipeline: Pipeline) -> None:
    browser = browsers["with microphone"]
    with browser.new_page() as speaking, browser.new_page() as watching:
        watching.goto(pipeline.address + "/?watch=booth")
        until(watching, f"{STATE}.lastError.includes('Nobody speaks')")
        speaking.goto(pipeline.address + "/?name=booth&autostart=1")
        until(watching, f"{STATE}.framesDrawn >= 25")


def test_the_embedded_face_speaks(browsers: dict[str, Browser], pipeline: Pipeline) -> None:
    with browsers["with microphone"].new_page() as page:
        page.goto(pipeline.address + "/embed/example.html")
        until(page, "window.lipwire.figures.framesDrawn > 0")
        page.click("button")
        until(page, "window.lipwire.figures.framesReceived >= 25")


def test_what_begins_while_a_stage_is_away_speaks_when_it_is_back(browsers: dict[str, Browser], tmp_path: Path) -> None:
    """As where a page is opened then: a resting face that cannot be painted is no reason to end the stream."""
    slow = "[process.ingest.restart]\nbackoff_ms = 4000\nbackoff_max_ms = 4000\n\n[process.mel]"
    config = config_with(tmp_path, **{r"\[process\.mel\]": slow})
    with (
        running(tmp_path / "log.txt", "--config", str(config)) as pipeline,
        browsers["with microphone"].new_page() as speaking,
        browsers["with microphone"].new_page() as resting,
    ):
        for page in (speaking, resting):
            page.goto(pipeline.address)
            until(page, f"{STATE}.framesDrawn > 0")
        before = state(resting)["framesDrawn"]
        kill(pipeline.pid_of("ingest"))
        resting.evaluate("window.lipwire.face.showRestingFace()")
        speaking.evaluate("window.lipwire.face.showRestingFace(), window.lipwire.face.listen()")
        until(resting, f"{STATE}.lastError.includes('restarts a part')")
        until(speaking, f"{STATE}.source === 'microphone' && {STATE}.framesReceived >= 10")
        until(resting, f"{STATE}.framesDrawn > {before}")


def test_a_speaker_that_is_not_installed_is_explained(browsers: dict[str, Browser], pipeline: Pipeline) -> None:
    with browsers["with microphone"].new_page() as page:
        page.goto(pipeline.address + "/?speaker=nobody")
        until(page, "document.getElementById('message').textContent.includes('nobody')")
        page.click("#microphone")
        until(page, f"{STATE}.framesReceived >= 10")


@pytest.mark.parametrize(
    ("browser", "words"),
    [
        ("refusing", "not allowed. Allow it for this page"),
        ("without microphone", "There is no microphone. Plug one in"),
    ],
)
def test_a_microphone_that_one_cannot_have_is_explained(
    browsers: dict[str, Browser], pipeline: Pipeline, browser: str, words: str
) -> None:
    with browsers[browser].new_page() as page:
        page.goto(pipeline.address)
        until(page, f"{STATE}.connection === 'connected'")
        page.click("#microphone")
        until(page, f"{STATE}.lastError !== ''")
        assert words in state(page)["lastError"]
        assert state(page)["source"] == "none"


def test_every_installed_speaker_can_be_chosen(page: Page) -> None:
    until(page, "document.getElementById('speaker').options.length > 0")
    for name in page.evaluate("[...document.getElementById('speaker').options].map((option) => option.value)"):
        before = state(page)["framesDrawn"]
        page.select_option("#speaker", name)
        until(page, f"{STATE}.framesDrawn > {before}")


def test_three_speakers_speak_at_once_and_are_switched_live(browsers: dict[str, Browser], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from models.synctalk2d.convert import convert
    from tests import synctalk

    folder = tmp_path / "speakers"
    names = ["default", "amara", "imported"]
    for name in names[:2]:
        shutil.copytree(SPEAKERS_DIR / name, folder / name)
    checkpoint, encoder = synctalk.checkpoint(tmp_path / "unet.pth"), synctalk.encoder(tmp_path / "encoder.pth")
    convert(checkpoint, synctalk.dataset(tmp_path / "data"), names[2], encoder=encoder, speakers_dir=folder)
    # The imported network takes half a second a frame beside three browsers' pages.
    changes = {r"\[pipeline\]": f'[pipeline]\nspeakers_dir = "{folder}"', "deadline_ms = 500": "deadline_ms = 5000"}
    config = config_with(tmp_path, **changes)
    with contextlib.ExitStack() as stack:
        pipeline = stack.enter_context(running(tmp_path / "log.txt", "--config", str(config)))
        pages = {name: stack.enter_context(browsers["with microphone"].new_page()) for name in names}
        for name, page in pages.items():
            page.goto(f"{pipeline.address}/?speaker={name}&autostart=1")
        for name, page in pages.items():
            until(page, f"{STATE}.speaker === '{name}' && {STATE}.framesDrawn > 0")
        for name, page in pages.items():
            after = names[(names.index(name) + 1) % len(names)]
            page.select_option("#speaker", after)
            until(page, f"{STATE}.speaker === '{after}'")
            before = state(page)["framesDrawn"]
            until(page, f"{STATE}.framesDrawn > {before}")
            assert state(page)["lastError"] == ""


def test_the_page_comes_back_with_the_edge_and_speaks_on(page: Page, pipeline: Pipeline) -> None:
    page.click("#microphone")
    until(page, f"{STATE}.framesReceived >= 10")
    pid = pipeline.pid_of("edge")
    kill(pid)
    until(page, f"{STATE}.connection === 'waiting'")
    assert "again" in state(page)["lastError"]
    wait_until(lambda: state(page)["connection"] == "connected")
    pipeline.wait_ready(pid)
    before = state(page)["framesReceived"]
    until(page, f"{STATE}.framesReceived >= {before + 25}")


def test_the_page_says_when_a_stage_fails_again_and_again(
    browsers: dict[str, Browser], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    monkeypatch.setenv(BROKEN, str(broken))
    text = "document.getElementById('message').textContent"
    with (
        running(tmp_path / "log.txt", "--config", str(crash_loop_config(tmp_path))) as failing,
        browsers["with microphone"].new_page() as page,
    ):
        page.goto(failing.address)
        until(page, f"{STATE}.framesDrawn > 0")
        broken.touch()
        kill(failing.pid_of("mel"))
        until(page, f"{text}.includes('{LAST_WORDS}')")
        broken.unlink()
        until(page, f"{text}.includes('whole again')")
