"""Metrics: the pipeline's figures for Prometheus, at /metrics on a port of its own.

Receives nothing from other stages: it listens to the probes and the status that they publish for anyone, in a process
of its own, so that being watched costs no frame. Labels name stages, replicas and causes; never a session.
"""

import hmac
import http.client
import sys
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app
from prometheus_client.registry import Collector

from pipeline.access import Access
from pipeline.channels import PROBES_SOCKET, STATUS_SOCKET, NoticeInlet
from pipeline.messages import Probe, StageState, Status
from pipeline.runtime import StageContext, stage_process

PROCESS: Final = "metrics"
_OPTIONS: Final = {"host": "127.0.0.1", "port": "9464"}
_LISTEN_S: Final = 0.1
_ASK_S: Final = 1.0
NS_PER_S: Final = 1e9
_MB: Final = 1_048_576
BUDGET_S: Final = 0.04
BUCKETS_S: Final = tuple(sorted({BUDGET_S, *(round(1e-4 * 1.15**step, 6) for step in range(62))}))
"""From 0.1 ms to half a second, each 15 % above the one before: a quantile read from them is right to 7 %. A frame's
budget is one of them."""

log = structlog.get_logger()


class Metrics:
    """Everything that is told, in one registry. Feed it notices; any thread may read it meanwhile."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, says: str) -> Histogram:
            return Histogram(name, says, ["stage"], buckets=BUCKETS_S, registry=registry)

        def gauge(name: str, says: str) -> Gauge:
            return Gauge(name, says, ["stage", "replica"], registry=registry)

        self._queue = histogram("lipwire_stage_queue_seconds", "From one stage's send to this stage's hands.")
        self._service = histogram("lipwire_stage_service_seconds", "In this stage's hands.")
        self._age = histogram("lipwire_stage_age_seconds", "Since the edge received the audio, when it was done.")
        self._dropped = Counter(
            "lipwire_dropped_windows", "Windows that a stage has dropped.", ["stage", "cause"], registry=registry
        )
        self._restarts = Counter("lipwire_stage_restarts", "Of a process.", ["stage", "replica"], registry=registry)
        self._up = gauge("lipwire_stage_up", "1 while the process is ready.")
        self._failing = gauge("lipwire_stage_failing", "1 while the process fails again and again.")
        self._rss = gauge("lipwire_process_resident_bytes", "Resident memory of the process.")
        self._cpu = gauge("lipwire_process_cpu_ratio", "Of one core, lately.")
        self._descriptors = gauge("lipwire_process_open_descriptors", "Open file descriptors of the process.")
        self._threads = gauge("lipwire_process_threads", "Threads of the process.")
        self._gpu = gauge("lipwire_process_gpu_bytes", "Memory of the process on GPUs.")
        self._gpu_busy = Gauge("lipwire_gpu_busy_ratio", "Of the time, a kernel ran on it.", ["gpu"], registry=registry)
        self._gpu_used = Gauge("lipwire_gpu_used_bytes", "Of its memory, by all.", ["gpu"], registry=registry)
        self._gpu_total = Gauge("lipwire_gpu_total_bytes", "Its memory.", ["gpu"], registry=registry)
        self._ready = Gauge("lipwire_ready", "1 while every process is ready.", registry=registry)
        self._last_drops: dict[tuple[str, int], dict[str, int]] = {}
        self._last_restarts: Tally[tuple[str, int]] = Tally()

    def hear(self, notice: Probe | Status) -> None:
        """What was published."""
        if isinstance(notice, Probe):
            self._hear_probe(notice)
            return
        self._ready.set(notice.ready)
        for stage in notice.stages:
            self._hear_stage(stage)
        for gpu in notice.gpus:
            self._gpu_busy.labels(str(gpu.index)).set(gpu.busy_percent / 100)
            self._gpu_used.labels(str(gpu.index)).set(gpu.used_mb * _MB)
            self._gpu_total.labels(str(gpu.index)).set(gpu.total_mb * _MB)

    def _hear_probe(self, probe: Probe) -> None:
        self._queue.labels(probe.process).observe(probe.queue_ns / NS_PER_S)
        self._service.labels(probe.process).observe(probe.service_ns / NS_PER_S)
        self._age.labels(probe.process).observe(probe.age_ns / NS_PER_S)
        before = self._last_drops.get((probe.process, probe.replica), {})
        for cause, total in probe.drops.items():
            # A restarted process counts from 0 again.
            more = total - before.get(cause, 0) if total >= before.get(cause, 0) else total
            self._dropped.labels(probe.process, cause).inc(more)
        self._last_drops[probe.process, probe.replica] = probe.drops

    def _hear_stage(self, stage: StageState) -> None:
        labels = (stage.process, str(stage.replica))
        key = (stage.process, stage.replica)
        self._restarts.labels(*labels).inc(max(0, stage.restarts - self._last_restarts[key]))
        self._last_restarts[key] = stage.restarts
        self._up.labels(*labels).set(stage.state == "ready")
        self._failing.labels(*labels).set(stage.state == "failing")
        self._rss.labels(*labels).set(stage.vitals.rss_mb * _MB)
        self._cpu.labels(*labels).set(stage.vitals.cpu_percent / 100)
        self._descriptors.labels(*labels).set(stage.vitals.descriptors)
        self._threads.labels(*labels).set(stage.vitals.threads)
        self._gpu.labels(*labels).set(stage.vitals.gpu_mb * _MB)


class _EdgeHealth(msgspec.Struct):
    sessions: int = 0
    connections: int = 0
    tuning: int = 0


class EdgeCollector(Collector):
    """What only the edge knows, asked when somebody scrapes."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def collect(self) -> Iterable[Any]:
        try:
            health = msgspec.json.decode(self._access.ask("/healthz", _ASK_S).read(), type=_EdgeHealth)
        except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
            log.warning("the edge did not answer", reason=str(error))
            return
        registry = CollectorRegistry()
        Gauge("lipwire_sessions", "Live streams.", registry=registry).set(health.sessions)
        Gauge("lipwire_connections", "Open connections.", registry=registry).set(health.connections)
        Gauge("lipwire_tuning_level", "Steps down to keep the pace; 0: none.", registry=registry).set(health.tuning)
        yield from registry.collect()


def _offers(environ: dict[str, Any], token: str) -> bool:
    return hmac.compare_digest(environ.get("HTTP_AUTHORIZATION", "").encode(), f"Bearer {token}".encode())


Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


def guarded(application: Application, token: str | None) -> Application:
    """/metrics and nothing else; where the pipeline has a token, for whoever offers it (`Authorization: Bearer`)."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != "/metrics":
            return refuse(start_response, HTTPStatus.NOT_FOUND, "the figures are at /metrics")
        if token is not None and not _offers(environ, token):
            return refuse(start_response, HTTPStatus.UNAUTHORIZED, "offer the token: Authorization: Bearer ...")
        return application(environ, start_response)

    def refuse(start_response: Any, status: HTTPStatus, words: str) -> Iterable[bytes]:
        start_response(f"{status.value} {status.phrase}", [("Content-Type", "text/plain; charset=utf-8")])
        return [words.encode() + b"\n"]

    return answer


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """A scrape every few seconds is no news."""


def _server(context: StageContext, registry: CollectorRegistry) -> WSGIServer:
    """Listening. Exits with words where it cannot."""
    options = _OPTIONS | context.config.process[PROCESS].options
    if set(options) != set(_OPTIONS) or not options["port"].isdecimal():
        sys.exit(f"process.{PROCESS}.options: there are {' and '.join(_OPTIONS)}, and port is a number")
    host, port = options["host"], int(options["port"])
    application = guarded(make_wsgi_app(registry), context.access.token)
    try:
        return make_server(host, port, application, handler_class=_Quiet)
    except OSError as error:
        sys.exit(f"cannot listen on {host}:{port}: {error}; choose another in process.{PROCESS}.options")


def main() -> None:
    """The main function of the process."""
    with stage_process(PROCESS) as context:
        registry = CollectorRegistry()
        registry.register(EdgeCollector(context.access))
        metrics = Metrics(registry)
        inlets = [NoticeInlet(context.zmq, context.instance, name) for name in (PROBES_SOCKET, STATUS_SOCKET)]
        server = _server(context, registry)
        threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
        host, port = server.server_address[:2]
        context.ready(f"figures at http://{host!s}:{port}/metrics")
        while not context.stopping:
            context.beat()
            time.sleep(_LISTEN_S)
            for inlet in inlets:
                for notice in inlet.take():
                    metrics.hear(notice)
        server.shutdown()


if __name__ == "__main__":
    main()
