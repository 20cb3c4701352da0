"""Latency at each stage: how it is measured, and how a stream of measurements is summed up."""

from collections import Counter, defaultdict, deque
from typing import Final

import numpy as np

from pipeline.messages import Probe, Route

NS_PER_MS: Final = 1e6


def measure(
    process: str, replica: int, route: Route, started_ns: int, now_ns: int, batch: int, drops: dict[str, int]
) -> Probe:
    """What one window cost at one stage."""
    return Probe(
        process=process,
        replica=replica,
        session=route.session,
        sequence=route.sequence,
        at_ns=now_ns,
        queue_ns=max(0, started_ns - route.sent_ns),
        service_ns=now_ns - started_ns,
        age_ns=now_ns - route.born_ns,
        batch=batch,
        drops=drops,
    )


class StageSummary:
    """The last probes of one process."""

    def __init__(self, keep: int) -> None:
        self._rows: deque[tuple[int, int, int]] = deque(maxlen=keep)
        self._drops: dict[int, Counter[str]] = {}
        self.count = 0

    def add(self, probe: Probe) -> None:
        self._rows.append((probe.queue_ns, probe.service_ns, probe.age_ns))
        self._drops[probe.replica] = Counter(probe.drops)
        self.count += 1

    def clear(self) -> None:
        self._rows.clear()
        self.count = 0

    def percentiles_ms(self, *percents: float) -> tuple[list[float], list[float], list[float]]:
        """(queue, service, age), each at `percents`."""
        if not self._rows:
            nothing = [0.0] * len(percents)
            return nothing, nothing, nothing
        table = np.percentile(np.array(self._rows, dtype=np.float64) / NS_PER_MS, percents, axis=0)
        queue, service, age = table.T.tolist()
        return queue, service, age

    def drops(self) -> dict[str, int]:
        """By cause, over all replicas since each started."""
        total: Counter[str] = Counter()
        for of_replica in self._drops.values():
            total.update(of_replica)
        return {cause: number for cause, number in total.items() if number}


class Summary:
    """The last probes of all processes, in the order they first spoke."""

    def __init__(self, keep: int = 2000) -> None:
        self.stages: dict[str, StageSummary] = defaultdict(lambda: StageSummary(keep))

    def add(self, probe: Probe) -> None:
        self.stages[probe.process].add(probe)
