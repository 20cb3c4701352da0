"""A running pipeline can be watched: as JSON lines, as a table, from a recording, and as a trace for Perfetto."""

import asyncio
import gzip
import http.server
import io
import json
import re
import struct
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from pipeline.audio import CHUNK_MS, CHUNK_SAMPLES
from pipeline.client import LipSync
from pipeline.messages import GpuState, Probe, StageState, Status, Vitals
from pipeline.probe.picture import Picture
from pipeline.probes import Summary
from tests.running import ROOT, Pipeline, instance_folders_of, voice, wait_until

ORDER = ["ingest", "mel", "infer", "publish", "edge"]
NAME = "under-which-others-may-watch"


def popen(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def start(pipeline: Pipeline, module: str, *arguments: str) -> "subprocess.Popen[str]":
    (folder,) = instance_folders_of(pipeline.popen.pid)
    return popen("-m", module, "--instance", str(folder), *arguments)


async def _speak(pipeline: Pipeline) -> None:
    chunks = list(voice(25 * CHUNK_SAMPLES).reshape(-1, CHUNK_SAMPLES))
    async with LipSync(pipeline.ws, name=NAME) as face:
        number = 0
        while True:
            await asyncio.sleep(CHUNK_MS / 1000)
            await face.send_chunk(chunks[number % len(chunks)])
            number += 1


@asynccontextmanager
async def somebody_speaks(pipeline: Pipeline) -> AsyncIterator[None]:
    task = asyncio.create_task(_speak(pipeline))
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


async def output_of(watcher: "subprocess.Popen[str]") -> str:
    out, err = await asyncio.to_thread(watcher.communicate)
    assert watcher.returncode == 0, err
    return out


async def test_each_line_has_every_stage_in_the_audios_order_and_a_recording_says_the_same(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    recording = tmp_path / "recording"
    await asyncio.to_thread(wait_until, lambda: pipeline.health()["stages"]["mel.0"]["rss_mb"] > 0)
    async with somebody_speaks(pipeline):
        out = await output_of(start(pipeline, "pipeline.probe", "--json", "--seconds", "3", "--record", str(recording)))
    last = json.loads(out.splitlines()[-1])
    assert [row["stage"] for row in last] == ORDER
    for row in last:
        assert row["windows"] > 0
        assert row["per_s"] > 0
        assert 0 < row["service_ms"][0] <= row["service_ms"][1]
        assert row["state"] == "ready"
        assert row["rss_mb"] > 10
    ages = [row["age_ms"][0] for row in last]
    assert ages == sorted(ages), "a window is the older the further it has come"

    assert b"publish" in recording.read_bytes()
    assert NAME.encode() not in recording.read_bytes(), "sessions have an opaque id, and tell nobody more"
    again = run("pipeline.probe", "--replay", str(recording), "--json")
    assert again.stdout.splitlines() == out.splitlines()
    table = run("pipeline.probe", "--replay", str(recording)).stdout
    for words in (*ORDER, "service", "restarts", "1 session(s)", "age when a frame leaves"):
        assert words in table

    cut_off = tmp_path / "cut"
    cut_off.write_bytes(recording.read_bytes()[:-5])
    assert run("pipeline.probe", "--replay", str(cut_off), "--json").returncode == 0


@pytest.mark.parametrize("raw", [b"", b"lipwire-probes 2\n[]\n", b"lipwire-probes 1\n{\n", struct.pack("<Id", 4, 0.0)])
def test_what_is_no_recording_is_said(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(raw)
    done = run("pipeline.probe", "--replay", str(path))
    assert done.returncode == 1
    assert str(path) in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_trace_follows_each_window_through_the_processes(pipeline: Pipeline, tmp_path: Path) -> None:
    path, picture = tmp_path / "trace.json", tmp_path / "trace.png"
    async with somebody_speaks(pipeline):
        await asyncio.sleep(1)
        await output_of(start(pipeline, "pipeline.trace", "-o", str(path), "--seconds", "2", "--picture", str(picture)))
    trace = json.loads(path.read_text())
    assert picture.read_bytes().startswith(b"\x89PNG")
    by_kind: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in trace["traceEvents"]:
        by_kind[event["ph"]].append(event)
    names = {event["pid"]: event["args"]["name"] for event in by_kind["M"] if event["name"] == "process_name"}
    assert [names[pid] for pid in sorted(names)] == ORDER
    assert len(by_kind["X"]) >= 25 * len(ORDER)
    ways: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in [*by_kind["s"], *by_kind["t"], *by_kind["f"]]:
        ways[event["id"]].append(event)
    whole = [sorted(way, key=lambda event: float(event["ts"])) for way in ways.values() if len(way) == len(ORDER)]
    assert len(whole) >= 25
    for way in whole:
        assert [names[event["pid"]] for event in way] == ORDER
        assert [event["ph"] for event in way] == ["s", "t", "t", "t", "f"]
        for event in way:
            assert any(
                slice["pid"] == event["pid"] and slice["ts"] <= event["ts"] <= slice["ts"] + slice["dur"]
                for slice in by_kind["X"]
            ), "an arrow begins and ends at a slice"


def test_without_a_voice_there_is_nothing_to_trace(pipeline: Pipeline, tmp_path: Path) -> None:
    tracer = start(pipeline, "pipeline.trace", "-o", str(tmp_path / "trace.json"), "--seconds", "0.2")
    _, err = tracer.communicate(timeout=60)
    assert tracer.returncode == 1
    assert "nobody spoke" in err
    assert not (tmp_path / "trace.json").exists()


async def test_the_documents_own_listener_hears_every_stage(pipeline: Pipeline) -> None:
    (folder,) = instance_folders_of(pipeline.popen.pid)
    listener = popen(str(ROOT / "examples" / "listen.py"), str(folder))
    assert listener.stdout is not None
    heard: set[str] = set()
    try:
        async with somebody_speaks(pipeline):
            while heard != set(ORDER):
                line = await asyncio.to_thread(listener.stdout.readline)
                assert re.fullmatch(r"\w+ [0-9a-f]{8} \d+ \d+\.\d\d ms\n", line)
                heard.add(line.split()[0])
    finally:
        listener.kill()
        listener.communicate()


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes what an OpenTelemetry collector takes."""

    received: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


async def test_windows_are_traces_of_opentelemetry_with_a_span_for_each_stage(pipeline: Pipeline) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}/v1/traces"
        async with somebody_speaks(pipeline):
            await output_of(
                start(pipeline, "pipeline.otel", "--endpoint", endpoint, "--every", "5", "--seconds", "3"),
            )
        server.shutdown()
    requests = [ExportTraceServiceRequest.FromString(body) for body in Collector.received]
    spans = [
        span
        for request in requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    traces: defaultdict[bytes, list[Any]] = defaultdict(list)
    for span in spans:
        traces[span.trace_id].append(span)
    whole = [trace for trace in traces.values() if len(trace) == 1 + len(ORDER)]
    assert len(whole) >= 5
    for trace in whole:
        (root,) = (span for span in trace if not span.parent_span_id)
        stages = sorted((span for span in trace if span.parent_span_id), key=lambda span: int(span.end_time_unix_nano))
        assert [span.name for span in stages] == ORDER
        assert {span.parent_span_id for span in stages} == {root.span_id}
        (sequence,) = (each.value.int_value for each in root.attributes if each.key == "lipwire.sequence")
        assert sequence % 5 == 0
        assert all(root.start_time_unix_nano <= span.start_time_unix_nano for span in stages)
        assert abs(root.end_time_unix_nano / 1e9 - time.time()) < 60, "time since 1970"


def test_drops_are_summed_over_replicas_and_not_over_time() -> None:
    summary = Summary()
    for replica, stale in ((0, 1), (0, 3), (1, 2)):
        summary.add(Probe("infer", replica, "s", 0, 0, 1_000_000, 2_000_000, 3_000_000, 1, {"stale": stale}))
    stage = summary.stages["infer"]
    assert stage.drops() == {"stale": 5}
    assert stage.percentiles_ms(50) == ([1.0], [2.0], [3.0])


def test_stages_that_have_had_nothing_to_do_are_shown() -> None:
    picture = Picture(["mel", "edge"])
    running = [StageState(name, 0, 1, "ready", 0, "", "", Vitals(rss_mb=60.0)) for name in ("edge", "mel")]
    picture.hear(Status(True, False, running))
    picture.tick(1.0)
    assert [(row.stage, row.windows, row.rss_mb, row.state) for row in picture.rows()] == [
        ("mel", 0, 60.0, "ready"),
        ("edge", 0, 60.0, "ready"),
    ]


def test_a_gpu_is_shown_where_there_is_one_and_a_session_that_left_is_not() -> None:
    from rich.console import Console

    picture = Picture(ORDER)
    console = Console(width=140, record=True, file=io.StringIO())
    picture.hear(Status(True, False, [], [GpuState(0, 37.0, 1024.0, 16384.0)]))
    picture.hear(Probe("edge", 0, "abcdefghijkl", 7, 2_000_000_000, 1, 1, 20_000_000, 1, {}))
    picture.tick(2.0)
    console.print(picture.screen())
    assert "GPU 0: 37 % busy, 1024 of 16384 MB" in (shown := console.export_text())
    assert "abcdefgh" in shown
    assert "abcdefghi" not in shown
    picture.tick(60.0)
    console.print(picture.screen())
    assert "0 session(s)" in console.export_text()
