"""Syllables: counts the syllables of every live voice, as often as its mouth opens. Says it when the voice leaves.

Receives a copy of Mouth, of which it needs the articulation only. Sends nothing. docs/extending.md walks through it.
"""

from typing import Final

import structlog

from models.articulation import CHANNELS
from pipeline.messages import Message, Mouth
from pipeline.runtime import Stage, StageContext, run_stage

APERTURE: Final = CHANNELS.index("aperture")
NOTICED: Final = 0.03
"""Of the widest opening: what the lips have to move, up and then down again, before it counts. Found by trying."""

log = structlog.get_logger()


class Openings:
    """Counts how often a value rises and falls by more than NOTICED."""

    def __init__(self) -> None:
        self.count = 0
        self._turn = 0.0
        self._rising = False

    def hear(self, value: float) -> None:
        self._turn = max(self._turn, value) if self._rising else min(self._turn, value)
        if abs(value - self._turn) > NOTICED:
            self._rising = not self._rising
            self._turn = value
            self.count += self._rising


class Syllables(Stage):
    def __init__(self, _context: StageContext) -> None:
        self._voices: dict[str, Openings] = {}

    def warm_up(self) -> str:
        return "listening in"

    def work(self, batch: list[Message]) -> None:
        (message,) = batch
        if isinstance(message, Mouth) and message.route.of_stream:
            self._voices.setdefault(message.route.session, Openings()).hear(message.articulation[APERTURE])

    def close(self, session: str) -> None:
        voice = self._voices.pop(session, None)
        if voice is not None:
            log.info("counted", session=session, syllables=voice.count)


if __name__ == "__main__":
    run_stage("syllables", Syllables)
