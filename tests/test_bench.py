"""The benchmarks: what they report is there and adds up. How fast anything is, is theirs to say, not the tests'."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from rich.console import Console

from models import bench, cost
from models.training import painter
from pipeline.bench import report
from pipeline.bench.clients import Seen
from pipeline.bench.plot import plot
from pipeline.bench.report import Run

STAGES = ["edge", "ingest", "mel", "infer", "publish"]


def run(*arguments: str) -> Any:
    command = [sys.executable, "-m", "pipeline.bench", "--json", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_live_sessions_are_measured_client_side_and_by_stage(tmp_path: Path) -> None:
    picture = tmp_path / "plot.png"
    found = run("--sessions", "2", "--seconds", "3", "--plot", str(picture))
    assert found["sessions"] == 2
    latency = found["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"] <= latency["max"]
    assert found["frames"]["expected"] == 2 * 3 * 25
    assert 0 < found["frames"]["received"] <= found["frames"]["expected"]
    assert list(found["stages"]) == STAGES
    for stage in found["stages"].values():
        assert stage["windows"] > 0
        assert 0 < stage["service_ms"][0] <= stage["service_ms"][2]
    assert {"supervisor", "forkserver", *STAGES} <= found["processes"].keys()
    assert found["cpu_percent"] > 0
    assert found["pss_mb"] == pytest.approx(sum(each["pss_mb"] for each in found["processes"].values()), abs=1)
    assert found["ready_s"] > 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_requests_are_measured_in_both_forms() -> None:
    found = run("--requests", "--count", "200")  # more than one connection may ask in a second
    assert len(found) == 2
    for each in found:
        assert each["sessions"] == 0
        assert each["frames"]["expected"] == 200
        assert each["frames"]["received"] == 200 - sum(each["errors"].values()) > 0
        assert "rate_limited" not in each["errors"]


def test_what_cannot_be_started_is_said() -> None:
    command = [sys.executable, "-m", "pipeline.bench", "--speaker", "nobody"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=110)
    assert done.returncode == 1
    assert "there is no speaker 'nobody'" in done.stderr


def a_run(p99: float, received: int, **errors: int) -> Run:
    seen = Seen(latency_ms=[p99] * received, expected=100, errors=errors, began=0, ended=4)
    return report.summed_up(4, seen, {}, {}, 1.0, 0.0)


def test_a_machine_holds_when_frames_are_there_in_time() -> None:
    assert a_run(39.0, 99).holds()
    assert not a_run(41.0, 100).holds()
    assert not a_run(10.0, 98).holds()


def test_what_the_server_told_instead_of_a_frame_is_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    Console(width=160).print(report.tables([a_run(10.0, 97, timeout=2, rate_limited=1)])[0])
    assert "timeout 2, rate_limited 1" in capsys.readouterr().out


def test_the_tables_and_the_plot_take_any_number_of_runs(tmp_path: Path) -> None:
    runs = [a_run(10.0, 100), a_run(50.0, 90)]
    assert len(report.tables(runs)) == 3
    plot(runs, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1_000


def test_a_frame_in_one_process_is_measured_step_by_step() -> None:
    found = bench.measure("default", 0.4, paced=False, against_synctalk2d=True)
    assert set(found.steps) == {"hear", "level", "mel", "articulate", "move", "paint", "compose", "encode"}
    assert found.frame_ms.p50 >= max(step.p50 for step in found.steps.values())
    assert painter.gflop() < found.networks_gflop < painter.gflop() + 0.02
    assert found.synctalk2d_times
    assert found.synctalk2d_times > 1


def test_the_cost_of_a_frame_is_told_as_a_table_or_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, short in (("TURNS", 1), ("MATRIX_RUNS", 1), ("NETWORK_RUNS", 3), ("SIDE", 200)):
        monkeypatch.setattr(bench, name, short)
    given = ["models.bench", "--seconds", "0.2"]
    monkeypatch.setattr(sys, "argv", given)
    bench.main()
    told = capsys.readouterr().out
    assert "articulate" in told
    assert "GFLOP a frame" in told
    monkeypatch.setattr(sys, "argv", [*given, "--flat-out", "--json"])
    bench.main()
    assert msgspec.json.decode(capsys.readouterr().out, type=bench.Found).frame_ms.p50 > 0
    monkeypatch.setattr(sys, "argv", [*given, "--speaker", "nobody"])
    with pytest.raises(SystemExit, match="nobody"):
        bench.main()


def test_arithmetic_is_counted_from_the_graph(tmp_path: Path) -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT, (8, 3, 5, 5), np.zeros(600, np.float32))
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8, 12, 12])
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "g", [given], [made], [weight])
    onnx.save(helper.make_model(graph), tmp_path / "conv.onnx")
    assert cost.gflop(tmp_path / "conv.onnx") == pytest.approx(2 * 8 * 12 * 12 * 3 * 25 / 1e9)
