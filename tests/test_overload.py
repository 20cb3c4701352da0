"""More than the machine can do: each session loses alike, what comes is new, requests are answered."""

import asyncio
import time
from pathlib import Path

from pipeline.bench.clients import cut
from pipeline.render import read_audio
from tests.persistent import Asker, LiveVoice
from tests.running import ROOT, running

SESSIONS = 3
SPEAK_S = 8.0
FAIR = 1.5
"""The most frames that one session gets, over the fewest."""


async def test_overload_is_shed_fairly_and_nothing_queues(tmp_path: Path) -> None:
    config = tmp_path / "slow.toml"
    config.write_text((ROOT / "supervisor.toml").read_text().replace('"stages.mel"', '"tests.slow"'))
    speech = cut(read_audio(ROOT / "webclient" / "sample.wav"))
    with running(tmp_path / "log.txt", "--config", str(config)) as pipeline:
        voices = [LiveVoice(pipeline.ws, speech[k * 20 :] + speech[: k * 20]) for k in range(SESSIONS)]
        asker = Asker(pipeline.ws)
        end = time.monotonic() + SPEAK_S
        await asyncio.gather(*(client.run(lambda: time.monotonic() < end) for client in (*voices, asker)))  # type: ignore[attr-defined]
    frames = [len(voice.arrivals) for voice in voices]
    assert sum(frames) < 0.9 * sum(voice.sent for voice in voices), "it was not too slow: this test tests nothing"
    assert min(frames) > 0
    assert max(frames) <= FAIR * min(frames)
    # Stale windows are dropped, not queued: what is shown is at most a few windows old, however long it lasts.
    latest = [latency for voice in voices for latency in voice.latencies[-10:]]
    assert max(latest) < SPEAK_S / 4
    assert not any(voice.disconnects for voice in voices)
    assert asker.unanswered == 0
