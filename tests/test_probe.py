"""Latencies can be watched while the pipeline runs: as JSON lines, and as a table."""

import asyncio
import json
import subprocess
import sys

import websockets

from pipeline.messages import Probe
from pipeline.probes import Summary
from tests.running import ROOT, Pipeline, instance_folders_of, voice
from tests.test_pipeline_protocols import stream


def watch(pipeline: Pipeline, *arguments: str) -> "subprocess.Popen[str]":
    (folder,) = instance_folders_of(pipeline.popen.pid)
    command = [sys.executable, "-m", "pipeline.probe", "--instance", str(folder), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def speak(pipeline: Pipeline, until: "subprocess.Popen[str]") -> None:
    async with websockets.connect(pipeline.ws, max_size=None) as socket:
        await socket.send('{"action": "start_stream", "version": 1}')
        await socket.recv()
        while until.poll() is None:
            await stream(socket, voice(), 0.04)


async def test_each_line_has_every_stage_in_the_audios_order(pipeline: Pipeline) -> None:
    watcher = watch(pipeline, "--json", "--seconds", "4")
    await speak(pipeline, watcher)
    out, err = await asyncio.to_thread(watcher.communicate)
    assert watcher.returncode == 0, err
    last = json.loads(out.splitlines()[-1])
    assert [row["stage"] for row in last] == ["ingest", "mel", "infer", "publish", "edge"]
    for row in last:
        assert row["windows"] > 0
        assert 0 < row["service_ms"][0] <= row["service_ms"][1]
    ages = [row["age_ms"][0] for row in last]
    assert ages == sorted(ages), "a window is the older the further it has come"


async def test_the_table_names_the_stages(pipeline: Pipeline) -> None:
    watcher = watch(pipeline, "--seconds", "3")
    await speak(pipeline, watcher)
    out, err = await asyncio.to_thread(watcher.communicate)
    assert watcher.returncode == 0, err
    assert "publish" in out
    assert "service" in out


def test_drops_are_summed_over_replicas_and_not_over_time() -> None:
    summary = Summary()
    for replica, stale in ((0, 1), (0, 3), (1, 2)):
        summary.add(Probe("infer", replica, "s", 0, 0, 1_000_000, 2_000_000, 3_000_000, 1, {"stale": stale}))
    stage = summary.stages["infer"]
    assert stage.drops() == {"stale": 5}
    assert stage.percentiles_ms(50) == ([1.0], [2.0], [3.0])
