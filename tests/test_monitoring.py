"""Prometheus itself scrapes a running pipeline: figures, dashboard and alerts are what they say."""

import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client import CollectorRegistry

from pipeline.bench.meter import Meter, StageFigures
from pipeline.instance import Instance
from pipeline.messages import GpuState, Probe, StageState, Status, Vitals
from stages.metrics import Metrics
from tests.running import ROOT, Pipeline, config_with, free_port, instance_folders_of, kill, running, wait_until

MONITORING = ROOT / "monitoring"
STAGES = ("edge", "ingest", "mel", "infer", "publish")
TOKEN = "a-token-of-tests-only"
SCRAPE_S = 1
SPOKEN_S = 8
AGREES = 0.1
"""The buckets are 15 % apart: a quantile between two of their edges is off by half of it, at worst."""


class Scraped(NamedTuple):
    pipeline: Pipeline
    metrics: str
    """Where the figures are."""
    prometheus: str
    stages: dict[str, StageFigures]
    """What the benchmark's own meter says of the same windows."""

    def ask(self, query: str) -> list[dict[str, Any]]:
        words = urllib.parse.urlencode({"query": query})
        with urllib.request.urlopen(f"{self.prometheus}/api/v1/query?{words}", timeout=10) as answer:
            told = json.load(answer)
        assert told["status"] == "success", query
        return list(told["data"]["result"])

    def value(self, query: str) -> float:
        (only,) = self.ask(query)
        return float(only["value"][1])


def metrics_of(pipeline: Pipeline) -> str:
    request = urllib.request.Request(pipeline.address + "/healthz", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        note = json.load(answer)["stages"]["metrics.0"]["note"]
    return str(re.search(r"http://\S+", note)[0])  # type: ignore[index]


@contextlib.contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """Debian's, with the configuration of monitoring/ but for the address, the token and the pace."""
    (folder / "token").write_text(TOKEN)
    text = (MONITORING / "prometheus.yml").read_text()
    changes = {
        "interval: 5s": f"interval: {SCRAPE_S}s",
        "127.0.0.1:9464": target,
        "# authorization: { credentials_file: /etc/lipwire/token }": "authorization: { credentials_file: token }",
        "lipwire.rules.yml": str(MONITORING / "lipwire.rules.yml"),
    }
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    config = folder / "prometheus.yml"
    config.write_text(text)
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data"]
    with (folder / "prometheus.log").open("w") as log:
        popen = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
        try:
            wait_until(lambda: answers(f"http://{address}/-/ready"))
            yield f"http://{address}"
        finally:
            popen.terminate()
            popen.wait(20)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def speak(pipeline: Pipeline, seconds: float) -> None:
    """Two sessions, by the benchmark's clients."""
    url, sample = f"{pipeline.ws}?token={TOKEN}", ROOT / "webclient" / "sample.wav"
    command = [sys.executable, "-m", "pipeline.bench.clients", "live", url, str(sample), "--sessions", "2"]
    subprocess.run([*command, "--seconds", str(seconds)], cwd=ROOT, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    folder = tmp_path_factory.mktemp("scraped")
    (folder / "secret").write_text(TOKEN)
    config = config_with(folder, **{'port = "9464"': 'port = "0"'})
    options = ("--config", str(config), "--metrics", "--token-file", str(folder / "secret"))
    with running(folder / "log.txt", *options) as pipeline:
        metrics = metrics_of(pipeline)
        with prometheus(folder, urllib.parse.urlsplit(metrics).netloc) as address:
            (instance,) = instance_folders_of(pipeline.popen.pid)
            meter = Meter(Instance(instance))
            with meter.listening():
                speak(pipeline, SPOKEN_S)
                time.sleep(1)  # the last probes come with a heartbeat
            figures = Scraped(pipeline, metrics, address, meter.stages(0, time.monotonic()))
            heard = figures.stages["edge"].windows
            wait_until(lambda: figures.value('lipwire_stage_age_seconds_count{stage="edge"}') >= heard)
            yield figures


def test_prometheus_counts_what_the_benchmark_counts(scraped: Scraped) -> None:
    assert scraped.value('up{job="lipwire"}') == 1
    for stage in STAGES:
        counted = scraped.value(f'lipwire_stage_service_seconds_count{{stage="{stage}"}}')
        assert counted == pytest.approx(scraped.stages[stage].windows, rel=AGREES)


@pytest.mark.parametrize("what", ["service", "age"])
@pytest.mark.parametrize("stage", STAGES)
def test_its_medians_agree_with_the_benchmarks(scraped: Scraped, stage: str, what: str) -> None:
    query = f'histogram_quantile(0.5, lipwire_stage_{what}_seconds_bucket{{stage="{stage}"}})'
    measured = scraped.stages[stage].service_ms if what == "service" else scraped.stages[stage].age_ms
    assert 1000 * scraped.value(query) == pytest.approx(measured[0], rel=AGREES)


def test_every_process_is_up_and_has_its_memory_and_its_processor_time(scraped: Scraped) -> None:
    up = {each["metric"]["stage"] for each in scraped.ask("lipwire_stage_up == 1")}
    assert up == {*STAGES, "metrics"}
    assert {each["metric"]["stage"] for each in scraped.ask("lipwire_process_resident_bytes > 20e6")} == up
    assert scraped.ask('max_over_time(lipwire_process_cpu_ratio{stage="infer"}[1m]) > 0.01')
    assert scraped.value("lipwire_ready") == 1


def test_no_label_tells_who_speaks(scraped: Scraped) -> None:
    labels = {name for each in scraped.ask('{__name__=~"lipwire_.*"}') for name in each["metric"]}
    assert labels == {"__name__", "instance", "job", "stage", "replica", "le", "cause"} - (
        set() if scraped.ask("lipwire_dropped_windows_total") else {"cause"}
    )


def test_every_query_of_the_dashboard_is_answered(scraped: Scraped) -> None:
    dashboard = json.loads((MONITORING / "grafana" / "lipwire.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(queries) > 15
    unanswered = []
    for query in queries:
        plain = query.replace("$__rate_interval", "1m").replace("$instance", ".*")
        if not [each for each in scraped.ask(plain) if each["value"][1] != "NaN"]:
            unanswered.append(query)
    assert unanswered == []


def test_a_query_that_asks_for_nothing_would_be_found(scraped: Scraped) -> None:
    assert scraped.ask("lipwire_stage_agee_seconds_count") == []


def test_a_restart_is_counted_and_the_figures_go_on(scraped: Scraped) -> None:
    scraped_before = scraped.value('lipwire_stage_service_seconds_count{stage="mel"}')
    request = urllib.request.Request(scraped.pipeline.address + "/healthz")
    request.add_header("Authorization", f"Bearer {TOKEN}")
    with urllib.request.urlopen(request, timeout=5) as answer:
        kill(json.load(answer)["stages"]["mel.0"]["pid"])
    wait_until(lambda: scraped.value('lipwire_stage_restarts_total{stage="mel"}') == 1)
    wait_until(lambda: scraped.value("lipwire_ready") == 1)
    speak(scraped.pipeline, 1)
    wait_until(lambda: scraped.value('lipwire_stage_service_seconds_count{stage="mel"}') > scraped_before)


def test_the_figures_want_the_pipelines_token(scraped: Scraped) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(urllib.request.Request(scraped.metrics, headers=headers), timeout=5)
    elsewhere = scraped.metrics.removesuffix("/metrics") + "/etc/passwd"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(elsewhere, timeout=5)


def test_without_the_option_no_figures_are_there(pipeline: Pipeline) -> None:
    assert "metrics.0" not in pipeline.health()["stages"]


@pytest.mark.parametrize(
    "command", [("check", "config", "monitoring/prometheus.yml"), ("test", "rules", "tests/alerts.yml")]
)
def test_promtool_takes_the_files_and_each_alert_fires_when_it_should(command: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried() -> None:
    alerts = re.findall(r"- alert: (\w+)", (MONITORING / "lipwire.rules.yml").read_text())
    tried = (ROOT / "tests" / "alerts.yml").read_text()
    assert len(alerts) > 5
    assert [alert for alert in alerts if alert not in tried] == []


def drops_of(registry: CollectorRegistry) -> float | None:
    return registry.get_sample_value("lipwire_dropped_windows_total", {"stage": "mel", "cause": "stale"})


def test_drops_and_restarts_are_counted_on_when_a_process_begins_at_nought_again() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for total in (2, 5, 1):  # 1: the process has been restarted
        metrics.hear(Probe("mel", 0, "s", 0, 0, 1, 1, 1, 1, {"stale": total}))
    assert drops_of(registry) == 6
    for restarts in (1, 1, 3):
        state = StageState("mel", 0, 1, "ready", restarts, "", "", Vitals(rss_mb=2, gpu_mb=3, cpu_percent=50))
        metrics.hear(Status(True, False, [state], [GpuState(1, 25.0, 100.0, 400.0)]))
    labels = {"stage": "mel", "replica": "0"}
    assert registry.get_sample_value("lipwire_stage_restarts_total", labels) == 3
    assert registry.get_sample_value("lipwire_process_cpu_ratio", labels) == 0.5
    assert registry.get_sample_value("lipwire_process_gpu_bytes", labels) == 3 * 2**20
    assert registry.get_sample_value("lipwire_gpu_busy_ratio", {"gpu": "1"}) == 0.25
    assert registry.get_sample_value("lipwire_gpu_used_bytes", {"gpu": "1"}) == 100 * 2**20
