"""`python -m tests.hearing SPEECH`: what the sound processing and the voice gates do to the lips, measured.

SPEECH holds recordings with phone times (`NAME.wav` beside `NAME.phones.tsv`) that the network was not trained on.
Each is heard as a stream: by `stages/hearing`, the front end, the articulator and its motion, chunk by chunk, after
LEAD_S of the same noise and another sentence, so that what adapts has adapted. Prints two tables in Markdown: the lip
figures (models/training/judge.py) of every step under every condition, and how well the gates tell speech from pauses.
Needs the extras ``sound`` and ``train``.
"""

import argparse
import itertools
import math
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.engine import OnnxEngine
from models.listen import FRONT_ENDS
from models.motion import moved, towards_rest
from models.speaker import open_speaker
from models.training import augment, sounds
from models.training.articulate import Phone
from models.training.articulator import APERTURE, ROUNDING
from models.training.judge import Track, judge
from models.training.speech import Utterance, aligned
from pipeline.audio import CHUNK_MS, CHUNK_SAMPLES, SAMPLE_RATE_HZ, WINDOW_SAMPLES, Samples
from pipeline.level import FFT_SIZE, LevelMeter
from pipeline.protocol.requests import Hearing, Processing, VoiceActivity
from stages.hearing import voice
from stages.hearing.processing import Processor, delay_ms
from stages.ingest import LISTEN_S

LEAD_S: Final = 4.0
"""Before each recording, of another one in the same noise."""
PAUSE_S: Final = 1.5
"""Before and after each recording, for the gates: of noise alone."""
TALKERS: Final = 6
THRESHOLD: Final = 0.01
ECHO_DB: Final = -6.0
"""Of the far end at the microphone, against the speech there: a laptop's own loudspeaker."""
ECHO_DELAY_MS: Final = 60
HELD_S: Final = 0.4
"""After speech, in which a gate may still be open: its hangover."""
LISTEN_CHUNKS: Final = math.ceil(1000 * LISTEN_S / CHUNK_MS)
"""So often ingest listens to who speaks."""
TAIL_S: Final = 1.0
"""After the recording: the pause that ap_silence is taken from, as short recordings have none."""
ALL: Final = tuple(Processing)
LEVEL, NEURAL = VoiceActivity.LEVEL, VoiceActivity.NEURAL

Noise = Callable[[np.random.Generator, Sequence[Samples], int], Samples]


def _babble(rng: np.random.Generator, others: Sequence[Samples], samples: int) -> Samples:
    return augment.babble(rng, others, samples, TALKERS)


def _of(make: Callable[[np.random.Generator, int], Samples]) -> Noise:
    return lambda rng, _others, samples: make(rng, samples)


@dataclass(frozen=True)
class Condition:
    """A room: noise so far under the speech, or the far end's voice."""

    name: str
    noise: Noise | None = None
    snr_db: float = 0.0
    echo: bool = False


CONDITIONS: Final = (
    Condition("clean"),
    Condition("street 10 dB", _of(sounds.street), 10),
    Condition("street 0 dB", _of(sounds.street), 0),
    Condition("babble 10 dB", _babble, 10),
    Condition("echo", echo=True),
)
GATE_CONDITIONS: Final = (
    *CONDITIONS[:4],
    Condition("babble 0 dB", _babble, 0),
    Condition("white 10 dB", _of(sounds.white), 10),
    Condition("white 0 dB", _of(sounds.white), 0),
    Condition("keyboard 10 dB", _of(sounds.keyboard), 10),
    Condition("music 10 dB", _of(sounds.music), 10),
)
STEPS: Final = (
    ("none, level gate", Hearing(THRESHOLD, (), LEVEL)),
    ("none, neural gate", Hearing(THRESHOLD, (), NEURAL)),
    *((step.value, Hearing(THRESHOLD, (step,), LEVEL)) for step in Processing),
    ("all, neural gate", Hearing(THRESHOLD, ALL, NEURAL)),
)


@dataclass(frozen=True)
class Scene:
    """What one microphone hears, what is played beside it, and where the recording that is judged begins."""

    utterance: Utterance
    near: Samples
    far: Samples
    begin_s: float


def scene(utterance: Utterance, before: Samples, condition: Condition, others: Sequence[Samples]) -> Scene:
    """The recording after ``before``, in a room."""
    rng = np.random.default_rng(zlib.crc32(f"{utterance.name} {condition.name}".encode()))
    speech = utterance.samples()
    near = np.concatenate([before, speech, np.zeros(round(TAIL_S * SAMPLE_RATE_HZ), np.float32)])
    far = np.zeros(len(near), np.float32)
    loudness = augment.speech_level(speech)
    if condition.noise is not None:
        noise = condition.noise(rng, others, len(near))
        near = near + noise / augment.rms(noise) * loudness * 10 ** (-condition.snr_db / 20)
    if condition.echo:
        far = np.resize(np.concatenate(list(others[:4])), len(near)).astype(np.float32)
        late = np.pad(augment.room(rng, far), (ECHO_DELAY_MS * SAMPLE_RATE_HZ // 1000, 0))[: len(near)]
        near = near + late / augment.speech_level(late) * loudness * 10 ** (ECHO_DB / 20)
    near = np.clip(near, -1, 1).astype(np.float32)
    whole = len(near) // CHUNK_SAMPLES * CHUNK_SAMPLES
    return Scene(utterance, near[:whole], far[:whole], len(before) / SAMPLE_RATE_HZ)


@dataclass(frozen=True)
class Listened:
    """One stream, chunk by chunk. ``time_s``: the moment of the scene that each frame shows."""

    time_s: NDArray[np.float64]
    mouth: NDArray[np.float32]
    silent: NDArray[np.bool_]
    took_ms: NDArray[np.float64]


class Listener:
    """The stages from ingest to the moved articulation, in one process."""

    def __init__(self) -> None:
        speaker = open_speaker("default")
        self._engine = OnnxEngine(speaker)
        self._front_end = FRONT_ENDS[speaker.manifest.front_end]
        self._rest = np.array(speaker.manifest.rest, np.float32)
        self._lookahead_ms = speaker.manifest.lookahead_ms

    def __call__(self, heard: Scene, hearing: Hearing, *, lips: bool = True) -> Listened:
        gate, meter = voice.gate_of(hearing, live=True), LevelMeter()
        processor = Processor(hearing.processing) if hearing.processing else None
        history = np.zeros(WINDOW_SAMPLES, np.float32)
        last = self._rest
        mouths, silences, took = [], [], []
        for number, start in enumerate(range(0, len(heard.near), CHUNK_SAMPLES)):
            chunk = heard.near[start : start + CHUNK_SAMPLES]
            began = time.perf_counter()
            if processor is not None:
                if Processing.ECHO in hearing.processing:
                    processor.hear_far_end(heard.far[start : start + CHUNK_SAMPLES])
                chunk = processor(chunk)
            spent = time.perf_counter() - began
            history = np.concatenate([history[CHUNK_SAMPLES:], chunk])
            level = meter(history[-FFT_SIZE:])
            began = time.perf_counter()
            silent = gate.is_silent(chunk, level)
            if number % LISTEN_CHUNKS == 0:
                voice.listen([gate])
            took.append(1000 * (spent + time.perf_counter() - began))
            silences.append(silent)
            if lips:
                last = self._shown(last, history, silent=silent)
                mouths.append(last)
        ends = np.arange(1, len(silences) + 1) * CHUNK_MS
        shows = (ends - self._lookahead_ms - delay_ms(hearing.processing)) / 1000
        return Listened(shows, np.array(mouths), np.array(silences), np.array(took))

    def _shown(self, last: NDArray[np.float32], window: Samples, *, silent: bool) -> NDArray[np.float32]:
        if silent:
            return towards_rest(last, self._rest)
        return moved(last, self._engine.articulate(self._front_end(window))[0])


def track(listened: Listened, heard: Scene) -> Track:
    """Of the recording alone, by its own clock."""
    times = listened.time_s - heard.begin_s
    kept = times >= -CHUNK_MS / 1000
    mouth = listened.mouth[kept].astype(np.float64)
    who = heard.utterance
    return Track(who.name, who.speaker, times[kept], mouth[:, APERTURE], mouth[:, ROUNDING], who.phones)


def with_pause(spoken: Track) -> Track:
    """The same with the pause after it among its phones."""
    end = spoken.phones[-1].end_s
    return spoken._replace(phones=(*spoken.phones, Phone(end, end + TAIL_S, "sil")))


def lips(listener: Listener, utterances: Sequence[Utterance], others: Sequence[Samples]) -> str:
    """The table of the lip figures."""
    lines = ["| condition | step | corr0 | closure_mid | ap_silence | ms a chunk |", "|---|---|---|---|---|---|"]
    lead = round(LEAD_S * SAMPLE_RATE_HZ)
    for condition in CONDITIONS:
        scenes = [
            scene(utterance, np.resize(before.samples(), lead), condition, others)
            for before, utterance in zip([utterances[-1], *utterances[:-1]], utterances, strict=True)
        ]
        for name, hearing in STEPS:
            listened = [listener(each, hearing) for each in scenes]
            tracks = [track(*pair) for pair in zip(listened, scenes, strict=True)]
            figures = judge(tracks)
            at_rest = judge([with_pause(each) for each in tracks]).ap_silence
            took = float(np.mean(np.concatenate([each.took_ms for each in listened])))
            row = (figures.corr0, figures.closure_mid, at_rest)
            shown = " | ".join(f"{value:.2f}" for value in row)
            lines.append(f"| {condition.name} | {name} | {shown} | {took:.2f} |")
    return "\n".join(lines)


@dataclass
class _Gated:
    """Counts of frames, and what each first phone lost, ms."""

    heard: int = 0
    spoken: int = 0
    opened: int = 0
    pauses: int = 0
    cut_ms: list[float] | None = None


def gates(listener: Listener, utterances: Sequence[Utterance], others: Sequence[Samples]) -> str:
    """The table of the gates: of frames that show a phone, how many are not silent; of frames in pauses, how many are
    not; what the first phone after a pause loses."""
    lines = [
        "| condition | gate | recall | false alarms | first phone cut (mean / max, ms) |",
        "|---|---|---|---|---|",
    ]
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE_HZ), np.float32)
    for condition, activity in itertools.product(GATE_CONDITIONS, VoiceActivity):
        counted = _Gated(cut_ms=[])
        for utterance in utterances:
            heard = scene(utterance, pause, condition, others)
            listened = listener(heard, Hearing(THRESHOLD, (), activity), lips=False)
            _count(counted, listened.time_s - heard.begin_s, ~listened.silent, utterance)
        assert counted.cut_ms is not None
        recall, alarms = counted.heard / counted.spoken, counted.opened / counted.pauses
        cut = f"{np.mean(counted.cut_ms):.0f} / {max(counted.cut_ms):.0f}"
        lines.append(f"| {condition.name} | {activity.value} | {recall:.3f} | {alarms:.3f} | {cut} |")
    return "\n".join(lines)


def _count(counted: _Gated, times: NDArray[np.float64], is_open: NDArray[np.bool_], utterance: Utterance) -> None:
    phones = [phone for phone in utterance.phones if phone.name != "sil"]
    spoken = _within(times, ((phone.start_s, phone.end_s) for phone in phones))
    near = _within(times, ((phone.start_s, phone.end_s + HELD_S) for phone in phones))
    counted.heard += int((spoken & is_open).sum())
    counted.spoken += int(spoken.sum())
    counted.opened += int((~near & is_open).sum())
    counted.pauses += int((~near).sum())
    first = phones[0].start_s
    opens = times[(times >= first) & is_open]
    assert counted.cut_ms is not None
    counted.cut_ms.append(1000 * float(opens[0] - times[times >= first][0]))


def _within(times: NDArray[np.float64], spans: Iterable[tuple[float, float]]) -> NDArray[np.bool_]:
    inside = np.zeros(len(times), bool)
    for start, end in spans:
        inside |= (times >= start) & (times < end)
    return inside


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.hearing", description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("speech", type=Path, help="recordings with phone times")
    parser.add_argument("--others", type=Path, required=True, help="recordings of other people, for babble and echo")
    given = parser.parse_args()
    utterances = aligned(given.speech)
    if not utterances:
        sys.exit(f"lipwire: {given.speech}: no NAME.wav beside a NAME.phones.tsv")
    others = [each.samples() for each in aligned(given.others)[:12]]
    listener = Listener()
    sys.stdout.write(lips(listener, utterances, others) + "\n\n")
    sys.stdout.write(gates(listener, utterances, others) + "\n")


if __name__ == "__main__":
    main()
