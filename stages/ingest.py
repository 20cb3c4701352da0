"""Ingest: audio chunks in, 640 ms windows out.

Receives Chunk (live stream), Upload (a request's whole window), Lookup (no audio), Prepare (a speaker). Keeps each
session's history and level meter, decides what is silence. Sends Window; passes Lookup and Prepare on.
"""

import time
from pathlib import Path
from typing import Final

import numpy as np

from pipeline.audio import CHUNK_SAMPLES, WINDOW_SAMPLES, samples_from_float32
from pipeline.history import History
from pipeline.level import FFT_SIZE, LevelMeter, level_of_window
from pipeline.messages import Chunk, Lookup, Message, Prepare, Upload, Window
from pipeline.runtime import Stage, StageContext, run_stage, sent_now

SILENT_CHUNKS: Final = 5  # 200 ms below the threshold before it counts as silence: a plosive's closure is shorter
IDLE_S: Final = 120.0  # a session unheard of for so long is forgotten, should its Close have been lost


class _Session:
    def __init__(self, history: History) -> None:
        self.history = history
        self.meter = LevelMeter()
        self.quiet_chunks = 0
        self.heard = time.monotonic()

    def hear(self, chunk: Chunk) -> tuple[float, bool]:
        """(level, silent) after this chunk."""
        self.heard = time.monotonic()
        self.history.add(chunk.route.sequence, samples_from_float32(chunk.samples))
        level = self.meter(self.history.window()[-FFT_SIZE:])
        self.quiet_chunks = self.quiet_chunks + 1 if level < chunk.silence_threshold else 0
        return level, self.quiet_chunks >= SILENT_CHUNKS


class Ingest(Stage):
    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._windows = context.writer("windows")
        self._sessions: dict[str, _Session] = {}

    def warm_up(self) -> str:
        level_of_window(np.zeros(WINDOW_SAMPLES, np.float32))
        return "sessions kept in shared memory"

    def work(self, batch: list[Message]) -> None:
        (message,) = batch
        if isinstance(message, Chunk):
            self._take_chunk(message)
        elif isinstance(message, Upload):
            self._take_window(message)
        elif isinstance(message, Lookup | Prepare):
            self._context.send("windows", type(message)(sent_now(message.route)))

    def _take_chunk(self, chunk: Chunk) -> None:
        session = self._sessions.get(chunk.route.session)
        if session is None:
            self._forget_idle()
            session = _Session(History(self._history_path(chunk.route.session)))
            self._sessions[chunk.route.session] = session
        level, silent = session.hear(chunk)
        slot = self._windows.write(session.history.window().data)
        end_sample = (chunk.route.sequence + 1) * CHUNK_SAMPLES
        self._context.send("windows", Window(sent_now(chunk.route), slot, end_sample, level, silent))

    def _take_window(self, upload: Upload) -> None:
        raw = self._context.read(upload.slot)
        level = level_of_window(samples_from_float32(raw))
        silent = level < self._context.config.pipeline.silence_threshold
        slot = self._windows.write(raw)
        self._context.send("windows", Window(sent_now(upload.route), slot, WINDOW_SAMPLES, level, silent))

    def _history_path(self, session: str) -> Path:
        return self._context.instance.folder / f"session.{session}"

    def _forget_idle(self) -> None:
        now = time.monotonic()
        for name in [name for name, session in self._sessions.items() if now - session.heard > IDLE_S]:
            self.close(name)

    def close(self, session: str) -> None:
        kept = self._sessions.pop(session, None)
        if kept:
            kept.history.remove()


if __name__ == "__main__":
    run_stage("ingest", Ingest)
