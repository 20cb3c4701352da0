"""The browser's own arithmetic, run by node against Python's: the level, the windows, the jitter buffer."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pipeline.audio import CHUNK_SAMPLES
from pipeline.level import FFT_SIZE, LevelMeter
from tests.running import ROOT, voice

CHUNKS = 12


def node(tmp_path: Path, body: str) -> object:
    """Run an ES module that sees webclient/ as `web` and prints one JSON value."""
    script = tmp_path / "script.mjs"
    files = ("audio", "level", "playout")
    imports = "\n".join(f"import * as {name} from '{(ROOT / 'webclient' / name).as_uri()}.js';" for name in files)
    script.write_text(imports + "\nimport { readFileSync } from 'node:fs';\n" + body)
    result = subprocess.run(["node", str(script)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("gain", [0.0, 0.001, 0.05, 1.0])
def test_the_browsers_level_is_pythons(tmp_path: Path, gain: float) -> None:
    samples = (voice(CHUNKS * CHUNK_SAMPLES) * gain).astype("<f4")
    audio = tmp_path / "audio.f32"
    audio.write_bytes(samples.tobytes())
    levels = node(
        tmp_path,
        f"""
        const samples = new Float32Array(readFileSync({json.dumps(str(audio))}).buffer.slice(0));
        const meter = new level.LevelMeter();
        const levels = [];
        for (let start = 0; start < samples.length; start += 960) {{
          levels.push(meter.push(samples.subarray(start, start + 960)));
        }}
        console.log(JSON.stringify(levels));
        """,
    )
    meter = LevelMeter()
    expected = [
        meter(samples[max(0, end - FFT_SIZE) : end]) for end in range(CHUNK_SAMPLES, len(samples) + 1, CHUNK_SAMPLES)
    ]
    assert levels == pytest.approx(expected, abs=0.002)  # half a step of a byte


def test_windows_are_the_newest_chunks_after_500_and_more(tmp_path: Path) -> None:
    firsts = node(
        tmp_path,
        """
        const history = new audio.History();
        const firsts = [];
        for (let i = 1; i <= 1007; i++) {
          history.push(new Float32Array(960).fill(i));
          if ([1, 16, 503, 1007].includes(i)) {
            const window = history.newest(16);
            firsts.push(Array.from({ length: 16 }, (_, k) => window[k * 960]));
          }
        }
        console.log(JSON.stringify(firsts));
        """,
    )
    assert firsts == [[max(0, last - 15 + k) for k in range(16)] for last in (1, 16, 503, 1007)]


def test_pieces_of_any_length_become_chunks_of_960(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lengths = [int(length) for length in rng.integers(0, 2500, 20)]
    joined = node(
        tmp_path,
        f"""
        const out = [];
        const chunker = new audio.Chunker((chunk) => out.push(...chunk));
        let next = 0;
        for (const length of {lengths}) {{
          chunker.push(Float32Array.from({{ length }}, () => next++));
        }}
        console.log(JSON.stringify([out.length, out.every((value, index) => value === index)]));
        """,
    )
    assert joined == [sum(lengths) // 960 * 960, True]


def test_the_jitter_buffer_is_short_where_the_network_is_steady(tmp_path: Path) -> None:
    delays = node(
        tmp_path,
        """
        const run = (jitter) => {
          const buffer = new playout.Playout();
          for (let i = 0; i < 100; i++) buffer.due(i * 40, 1000 + i * 40 + jitter(i));
          return buffer.delayMs;
        };
        console.log(JSON.stringify([run(() => 0), run((i) => (i % 2) * 30)]));
        """,
    )
    assert delays == [0, 30]
