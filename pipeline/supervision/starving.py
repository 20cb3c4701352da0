"""Whether a stage is silent because it hangs, or because the processor is kept from it, which is not its fault."""

from pathlib import Path
from typing import Final, NamedTuple

_NS_PER_S: Final = 1e9
_RUNNABLE: Final = "R"


class Turns(NamedTuple):
    """The main thread of a process: whether it runs or wants to, how long it ran and how long it was kept waiting, in
    seconds since it began. A wait that still lasts is not in it."""

    runnable: bool
    ran_s: float
    waited_s: float

    def had_s(self, before: "Turns", elapsed_s: float) -> float:
        """For how much of the `elapsed_s` since `before` it had the processor, or did not want it."""
        if self.runnable:
            return self.ran_s - before.ran_s
        return elapsed_s - (self.waited_s - before.waited_s)


NEVER: Final = Turns(runnable=False, ran_s=0.0, waited_s=0.0)


def turns_of(pid: int) -> Turns:
    """As the kernel counts now (Linux, Documentation/scheduler/sched-stats.rst and proc(5)); NEVER where it does not:
    not Linux, a kernel built without it, or the process has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        ran_ns, waited_ns, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except OSError:
        return NEVER
    return Turns(state == _RUNNABLE, int(ran_ns) / _NS_PER_S, int(waited_ns) / _NS_PER_S)
