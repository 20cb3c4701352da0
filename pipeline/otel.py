"""`python -m pipeline.otel`: windows of a running pipeline as OpenTelemetry traces, sent to a collector over OTLP.

A window is a trace: a root span from the edge's receipt of its sound to its frame's departure, and in it a span of each
stage. One window in 25 of each session is sent, which is one a second; --every 1 sends all. Needs the extra `otel`.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import structlog
import zmq

from pipeline.channels import PROBES_SOCKET, NoticeInlet
from pipeline.extras import needs
from pipeline.logs import configure_logs
from pipeline.messages import Probe
from pipeline.probe.source import choose_instance, order_of

with needs("otel"):
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import Tracer, set_span_in_context

EVERY: Final = 25
_COLLECTOR: Final = "http://127.0.0.1:4318/v1/traces"
"""OTLP over HTTP; the port is IANA's."""
_POLL_MS: Final = 100
_COMPLETE_S: Final = 1.0
"""After its first probe, a window's others have come, too: they travel with the heartbeats."""

log = structlog.get_logger()


class Windows:
    """Gathers each window's probes until they are complete; of every ``every``-th window of a session."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._waiting: defaultdict[tuple[str, int], list[Probe]] = defaultdict(list)
        self._since_s: dict[tuple[str, int], float] = {}

    def hear(self, probes: Iterable[Probe], now_s: float) -> None:
        for probe in probes:
            if probe.sequence % self._every == 0:
                key = (probe.session, probe.sequence)
                self._waiting[key].append(probe)
                self._since_s.setdefault(key, now_s)

    def complete(self, now_s: float) -> Iterator[list[Probe]]:
        """Those that nothing will be added to any more."""
        for key in [key for key, since in self._since_s.items() if now_s - since >= _COMPLETE_S]:
            del self._since_s[key]
            yield self._waiting.pop(key)


def send(tracer: Tracer, window: Sequence[Probe], order: Sequence[str], epoch_ns: int) -> None:
    """As spans. ``epoch_ns``: what CLOCK_MONOTONIC's zero is in time since 1970."""
    way = sorted(window, key=lambda probe: order.index(probe.process))
    last = way[-1]
    born_ns = last.at_ns - last.age_ns
    root = tracer.start_span(
        "window",
        start_time=epoch_ns + born_ns,
        attributes={"lipwire.session": last.session, "lipwire.sequence": last.sequence},
    )
    inside = set_span_in_context(root)
    for probe in way:
        span = tracer.start_span(
            probe.process,
            context=inside,
            start_time=epoch_ns + probe.at_ns - probe.service_ns,
            attributes={
                "lipwire.replica": probe.replica,
                "lipwire.queue_ms": probe.queue_ns / 1e6,
                "lipwire.batch": probe.batch,
            },
        )
        span.end(epoch_ns + probe.at_ns)
    root.end(epoch_ns + last.at_ns)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.otel", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--instance", type=Path, help="its folder in /dev/shm, where several run")
    parser.add_argument("--endpoint", default=_COLLECTOR, help="of the collector (%(default)s)")
    parser.add_argument("--every", type=int, default=EVERY, help="one window in so many of each session (%(default)s)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    given = parser.parse_args()
    if given.every < 1 or urlsplit(given.endpoint).scheme not in ("http", "https"):
        parser.error("--every is 1 or more, and --endpoint begins with http:// or https://")
    configure_logs("otel")
    instance = choose_instance(given.instance)
    order = order_of(instance)
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "lipwire"}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(given.endpoint)))
    inlet = NoticeInlet(zmq.Context.instance(), instance, PROBES_SOCKET)
    windows = Windows(given.every)
    epoch_ns = time.time_ns() - time.monotonic_ns()
    tracer, sent, end_s = provider.get_tracer("lipwire"), 0, time.monotonic() + given.seconds
    try:
        while time.monotonic() < end_s:
            inlet.sub.poll(_POLL_MS)
            windows.hear((each for each in inlet.take() if isinstance(each, Probe)), time.monotonic())
            for window in windows.complete(time.monotonic()):
                send(tracer, window, order, epoch_ns)
                sent += 1
    except KeyboardInterrupt:
        return
    finally:
        provider.shutdown()
        log.info("traces sent", windows=sent, endpoint=given.endpoint)


if __name__ == "__main__":
    main()
