"""`python -m tests.page_latency`: from a chunk that is complete in the page to its picture on the page, in ms.

One session, Chromium with its fake microphone on the same machine, as the page itself measures it. Prints JSON.
"""

import argparse
import json
import os
import sys

from playwright.sync_api import sync_playwright

from pipeline.audio import FRAME_RATE_HZ
from pipeline.spawn import spawned
from tests.chromium import CHROMIUM, FAKE_MICROPHONE, FLAGS, STATE, until

SETTLE_FRAMES = 50
KEPT = "window.lipwire.face.display.latencies.size = 100000"
LATENCIES = "window.lipwire.face.display.latencies"
SPLIT = """(() => {
    const { display, roundTrips } = window.lipwire.face;
    return [display.latencies, roundTrips].flatMap((recent) => [recent.quantile(0.5), recent.quantile(0.95)]);
})()"""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.page_latency", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seconds", type=int, default=30)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with spawned() as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS + FAKE_MICROPHONE)
        page = browser.new_page()
        page.goto(server.url.replace("ws", "http", 1).removesuffix("/ws"))
        until(page, f"{STATE}.framesDrawn > 0")
        page.click("#microphone")
        until(page, f"{STATE}.framesDrawn >= {SETTLE_FRAMES}")
        page.evaluate(f"(() => {{ {KEPT}; {LATENCIES}.clear(); }})()")
        before = page.evaluate(f"{STATE}.framesDrawn")
        page.wait_for_timeout(given.seconds * 1000)
        drawn = page.evaluate(f"{STATE}.framesDrawn") - before
        p50, p95, trip50, trip95 = page.evaluate(SPLIT)
        browser.close()
    found = {
        "chunk_to_picture_ms": {"p50": round(p50, 1), "p95": round(p95, 1)},
        "chunk_to_frame_received_ms": {"p50": round(trip50, 1), "p95": round(trip95, 1)},
        "drawn": drawn,
        "expected": given.seconds * FRAME_RATE_HZ,
        "load_before": round(load, 2),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
