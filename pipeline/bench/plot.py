"""A benchmark's runs as a plot for the docs. Needs the extra ``bench`` (matplotlib)."""

from pathlib import Path

from matplotlib.figure import Figure

from pipeline.bench.report import BUDGET_MS, Run


def plot(runs: list[Run], path: Path) -> None:
    """Latency, processor time and what is missing, over the number of sessions."""
    figure = Figure(figsize=(7, 5.4), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    sessions = [run.sessions for run in runs]
    for name in ("p50", "p95", "p99"):
        above.plot(sessions, [getattr(run.latency_ms, name) for run in runs], marker="o", label=name)
    above.axhline(BUDGET_MS, color="grey", linestyle=":", label="one frame's time")
    above.set_ylabel("chunk sent to frame received, ms")
    above.set_ylim(bottom=0)
    above.legend()
    below.plot(
        sessions, [run.cpu_percent for run in runs], marker="o", color="tab:green", label="processor, % of a core"
    )
    missing = [100 * (1 - run.frames.received / max(1, run.frames.expected)) for run in runs]
    below.plot(sessions, missing, marker="o", color="tab:red", label="frames missing, %")
    below.set_xlabel("live sessions at 25 frames a second")
    below.set_ylim(bottom=0)
    below.legend()
    figure.savefig(path, dpi=120)
