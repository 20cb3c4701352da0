"""What the edge says to clients: each answer made of what the pipeline knows. No I/O."""

import time
from collections.abc import Mapping
from typing import Any, Final

from models.speaker import Speaker
from pipeline.audio import SAMPLE_RATE_HZ
from pipeline.messages import Frame
from pipeline.protocol import jsonform, live
from pipeline.protocol.requests import View
from stages.clients.streams import Stream
from stages.tuning import WORDS, Tuner

NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000
_MS_PER_S: Final = 1000


def elapsed_ms(since_ns: int) -> float:
    """From CLOCK_MONOTONIC `since_ns` until now."""
    return round((time.monotonic_ns() - since_ns) / NS_PER_MS, 3)


def articulation(frame: Frame, speaker: Speaker) -> dict[str, float]:
    """What the mouth does, by channel."""
    return {name: round(value, 4) for name, value in zip(speaker.manifest.channels, frame.articulation, strict=True)}


def frame_response(frame: Frame, frame_id: int, born_ns: int, image: bytes, speaker: Speaker) -> jsonform.FrameResponse:
    """The answer to generate_frame."""
    return jsonform.FrameResponse(
        frame_id=frame_id,
        frame_data=jsonform.encode_image(image),
        processing_time=elapsed_ms(born_ns),
        inference_count=frame.inferences,
        speaker=speaker.name,
        lookahead_ms=speaker.manifest.lookahead_ms,
        articulation=articulation(frame, speaker),
    )


def _lookahead_ms(stream: Stream[Any], speaker: Speaker) -> int:
    """The sound that is in hand when a mouth is painted: what the network wants, and what processing keeps back."""
    return speaker.manifest.lookahead_ms + stream.delay_ms


def frame_meta(stream: Stream[Any], frame: Frame, view: View, speaker: Speaker) -> live.FrameMeta:
    """What a live frame says about itself."""
    return live.FrameMeta(
        chunk=frame.route.sequence,
        audio_ms=frame.end_sample * _MS_PER_S / SAMPLE_RATE_HZ - _lookahead_ms(stream, speaker),
        server_ms=elapsed_ms(frame.route.born_ns),
        level=round(frame.level, 4),
        base=frame.base,
        speaker=speaker.name,
        dropped=stream.dropped,
        silent=frame.silent,
        box=frame.box if view is View.PATCH else None,
        articulation=articulation(frame, speaker),
    )


def stream_started(stream: Stream[Any], speaker: Speaker) -> live.StreamStarted:
    """The answer to start_stream and watch."""
    manifest = speaker.manifest
    return live.StreamStarted(
        session=stream.session,
        speaker=speaker.name,
        lookahead_ms=_lookahead_ms(stream, speaker),
        width=manifest.base.width,
        height=manifest.base.height,
        base_frames=manifest.base.count,
        channels=manifest.channels,
        processing=stream.hearing.processing,
        voice_activity=stream.hearing.voice_activity,
    )


def tuning(tuner: Tuner) -> live.Tuning:
    """How much is asked of the machine now."""
    means = WORDS[tuner.level] if tuner.level else ""
    return live.Tuning(level=tuner.level, frames_per_s=tuner.frame_rate_hz, means=means)


def stream_stopped(stream: Stream[Any]) -> live.StreamStopped:
    """The answer to stop_stream."""
    return live.StreamStopped(
        session=stream.session, chunks=stream.next_chunk, frames=stream.frames, dropped=stream.dropped
    )


def model_switched(stream: Stream[Any], speaker: Speaker) -> live.ModelSwitched:
    """The answer to switch_model."""
    manifest = speaker.manifest
    return live.ModelSwitched(
        speaker=speaker.name,
        lookahead_ms=_lookahead_ms(stream, speaker),
        width=manifest.base.width,
        height=manifest.base.height,
        base_frames=manifest.base.count,
    )


def models(speakers: Mapping[str, Speaker], default: str) -> live.Models:
    """The answer to list_models."""
    return live.Models(
        models=[
            live.SpeakerInfo(
                name=name,
                title=speaker.manifest.title,
                width=speaker.manifest.base.width,
                height=speaker.manifest.base.height,
                lookahead_ms=speaker.manifest.lookahead_ms,
            )
            for name, speaker in speakers.items()
        ],
        default=default,
    )
