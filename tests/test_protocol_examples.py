"""docs/protocol.md tells the truth: its JSON is what the code reads and writes, its client runs."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from pipeline.protocol import jsonform, live
from pipeline.protocol.errors import ErrorCode, Failure
from pipeline.protocol.requests import ListModels, StopStream, SubscribeStats, SwitchModel, View, WatchSession
from tests.running import ROOT, Pipeline, voice

DOCUMENT = (ROOT / "docs" / "protocol.md").read_text()
CHUNKS = 20


def example(label: str) -> str:
    found = re.search(rf"```{re.escape(label)}\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found, f"docs/protocol.md has no example {label!r}"
    return found.group(1)


@pytest.mark.parametrize(
    ("label", "request_"),
    [
        ("stop_stream", StopStream()),
        ("switch_model", SwitchModel("default")),
        ("list_models", ListModels()),
        ("watch", WatchSession(1, "booth-1", View.FULL)),
        ("stats", SubscribeStats(enabled=True)),
    ],
)
def test_what_a_client_sends(label: str, request_: msgspec.Struct) -> None:
    assert jsonform.decode(example(f"json {label}")) == request_


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("stream_started", live.StreamStarted),
        ("stream_stopped", live.StreamStopped),
        ("model_switched", live.ModelSwitched),
        ("models", live.Models),
        ("stats answer", live.Stats),
        ("failure", Failure),
    ],
)
def test_what_the_server_sends(label: str, kind: type[Any]) -> None:
    text = example(f"json {label}")
    answer = msgspec.json.decode(text, type=kind)
    assert json.loads(jsonform.encode(answer)) == json.loads(text), "every key is shown, and none that there is not"


def test_every_error_says_what_to_do() -> None:
    table = {name: row for row in DOCUMENT.splitlines() for name in re.findall(r"^\| `(\w+)` \| .+ \| .+ \|$", row)}
    assert {code.value for code in ErrorCode} <= set(table)


def test_the_client_in_the_document_works(pipeline: Pipeline, tmp_path: Path) -> None:
    client = tmp_path / "client.py"
    client.write_text(example("python"))
    pcm = (np.clip(voice(960 * CHUNKS), -1, 1) * 32_767).astype("<i2").tobytes()
    result = subprocess.run(
        [sys.executable, client, pipeline.ws], input=pcm, capture_output=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr.decode()
    *frames, stopped = result.stdout.decode().splitlines()
    assert json.loads(stopped)["chunks"] == CHUNKS
    assert len(frames) >= CHUNKS // 2, "on a busy machine some are dropped"
    assert re.fullmatch(r"chunk \d+ shows [\d.]+ ms: \d{4,} bytes of JPEG", frames[-1])
