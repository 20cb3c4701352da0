"""What the edge knows of the other processes: the supervisor's status, and the probes once somebody asks for them."""

from typing import Any, Final

import msgspec

from pipeline.channels import PROBES_SOCKET, STATUS_SOCKET, NoticeInlet
from pipeline.messages import Probe, Status
from pipeline.probes import Summary
from pipeline.protocol import live
from pipeline.runtime import StageContext
from pipeline.supervision.child import State

_FAILING: Final = State.FAILING.value


class Observer:
    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._statuses = NoticeInlet(context.zmq, context.instance, STATUS_SOCKET)
        self._probes: NoticeInlet | None = None
        self._summary = Summary()
        self._status = Status(ready=False, draining=False, stages=[])

    def hear_status(self) -> None:
        """Take in what the supervisor has published."""
        for notice in self._statuses.take():
            if isinstance(notice, Status):
                self._status = notice

    def health(self) -> dict[str, Any]:
        """Whether all are ready, who is not, and each stage's state."""
        self.hear_status()
        stages = {
            f"{stage.process}.{stage.replica}": {
                "state": stage.state,
                "pid": stage.pid,
                "restarts": stage.restarts,
                "note": stage.note,
                **({"reason": stage.reason} if stage.reason else {}),
                **msgspec.structs.asdict(stage.vitals),
            }
            for stage in self._status.stages
        }
        down = [name for name, stage in stages.items() if stage["state"] != "ready"]
        gpus = [msgspec.structs.asdict(gpu) for gpu in self._status.gpus]
        return {"ready": self._status.ready, "down": down, "stages": stages, "gpus": gpus}

    def stats(self, tuning: live.Tuning) -> live.Stats:
        """Every stage since the last call. The first call subscribes: nobody pays for probes that nobody reads."""
        if self._probes is None:
            self._probes = NoticeInlet(self._context.zmq, self._context.instance, PROBES_SOCKET)
        for probe in self._probes.take():
            if isinstance(probe, Probe):
                self._summary.add(probe)
        notes = {stage.process: stage.note for stage in self._status.stages}
        return live.Stats(
            stages=[
                self._row(name, notes.get(name, ""))
                for name, process in self._context.config.process.items()
                if process.receives  # what stands beside the audio's path has no windows
            ],
            tuning=tuning,
            failing={stage.process: stage.reason for stage in self._status.stages if stage.state == _FAILING},
        )

    def _row(self, name: str, note: str) -> live.StageStats:
        summary = self._summary.stages[name]
        queue, service, age = summary.percentiles_ms(50, 99)
        frames = summary.count
        summary.clear()
        return live.StageStats(
            stage=name,
            frames=frames,
            queue_p50=queue[0],
            service_p50=service[0],
            age_p50=age[0],
            age_p99=age[1],
            drops=summary.drops(),
            note=note,
        )
