"""Every header that travels between the processes, and nothing else defines one.

Headers are msgpack arrays, tagged by their name and led by VERSION: both ends come from the same
installation, so a foreign version is refused, never translated. Audio windows and pictures lie in rings;
headers say where.

    edge --Chunk, FarEnd, Upload, Lookup, Close--> ingest --Window, Lookup--> mel --Features--> infer --Mouth-->
        publish --Frame--> edge
    edge --Prepare--> ingest --Prepare--> mel --Prepare--> infer --Prepare--> publish --Prepare--> edge
    any stage --Failed--> edge, --Ready, Heartbeat--> supervisor, --Probes--> anyone
"""

from typing import Final, TypeVar

import msgspec

from pipeline.protocol.requests import Hearing
from pipeline.ring import SlotRef

VERSION: Final = 1

VIEW_FULL: Final = 1
VIEW_PATCH: Final = 2


class Route(msgspec.Struct, frozen=True, array_like=True):
    """Whose window this is, and how it is to be treated on its way.

    Attributes:
        session: opaque id of the live stream or of the connection that asked.
        mark: what tells this sound from others, should a stage die of it: a request's checksum, or the live session.
        sequence: counts the windows of a session, from 0.
        frame_id: the client's; picks the base frame and comes back with the answer.
        speaker: who paints it.
        live: a newer window of the session replaces it while it waits; otherwise every window is painted.
        views: VIEW_FULL, VIEW_PATCH or both: what publish encodes; 0: the chunk is heard, and gets no frame.
        born_ns, deadline_ns: CLOCK_MONOTONIC; past the deadline nobody waits for it any more.
        sent_ns: when the last stage sent it on.
        tuning: how much is asked of the machine (stages/tuning.py); 0: everything.
    """

    session: str
    mark: str
    sequence: int
    frame_id: int
    speaker: str
    live: bool
    views: int
    born_ns: int
    deadline_ns: int
    sent_ns: int
    tuning: int = 0

    @property
    def of_stream(self) -> bool:
        """Whether windows before it of the same voice were in the same session: it moves on from there."""
        return self.mark == self.session


class Header(msgspec.Struct, frozen=True, array_like=True):
    """What all headers that follow the audio's path begin with."""

    route: Route


class Chunk(Header, frozen=True, tag=True):
    """The next 40 ms of a live stream, as they came (pipeline.audio.samples_of_chunk), and how they are to be heard."""

    pcm: bytes
    hearing: Hearing


class FarEnd(Header, frozen=True, tag=True):
    """The next 40 ms that are played where the session's microphone is, as they came."""

    pcm: bytes


class Upload(Header, frozen=True, tag=True):
    """A whole window that a request brought along."""

    slot: SlotRef


class Lookup(Header, frozen=True, tag=True):
    """No audio: row `frame_id` of the speaker's own precomputed features."""


class Prepare(Header, frozen=True, tag=True):
    """Whoever works for `route.speaker` loads it, and passes this on once it is warm: at the edge, all are."""


class Close(Header, frozen=True, tag=True):
    """The session has ended; whoever keeps something for it lets go."""


class Window(Header, frozen=True, tag=True):
    """640 ms, newest sample last. `end_sample`: of its end, counted from the stream's start."""

    slot: SlotRef
    end_sample: int
    level: float
    silent: bool


class Features(Header, frozen=True, tag=True):
    """float32, C order, of `shape`; empty where silent, as nothing is inferred then."""

    values: bytes
    shape: tuple[int, ...]
    end_sample: int
    level: float
    silent: bool


class Mouth(Header, frozen=True, tag=True):
    """uint8 RGB pixels of the painted mouth, and the articulation they show."""

    slot: SlotRef
    articulation: tuple[float, ...]
    end_sample: int
    level: float
    silent: bool
    inferences: int


class Frame(Header, frozen=True, tag=True):
    """Encoded pictures, ready to leave."""

    full: SlotRef | None
    patch: SlotRef | None
    box: tuple[int, int, int, int]
    base: int
    articulation: tuple[float, ...]
    end_sample: int
    level: float
    silent: bool
    inferences: int


class Failed(Header, frozen=True, tag=True):
    """This window gets no frame. `error` and `message` are for the client."""

    error: str
    message: str


Message = Chunk | FarEnd | Upload | Lookup | Prepare | Close | Window | Features | Mouth | Frame | Failed


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The stage is warm. `note`: what it chose, for people."""

    process: str
    replica: int
    pid: int
    note: str


class Heartbeat(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The stage's loop goes round."""

    process: str
    replica: int
    pid: int


Report = Ready | Heartbeat


class Probe(msgspec.Struct, frozen=True, array_like=True):
    """What one window cost at one stage.

    Attributes:
        queue_ns: from the sending stage's send to this stage's hands.
        service_ns: in this stage's hands.
        age_ns: since the edge received the audio.
        batch: windows that were worked on together.
        drops: windows this process has dropped since it started, by cause.
    """

    process: str
    replica: int
    session: str
    sequence: int
    at_ns: int
    queue_ns: int
    service_ns: int
    age_ns: int
    batch: int
    drops: dict[str, int]


class Probes(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """What a stage has measured lately, published on the topic `probe.<process>` with every heartbeat."""

    probes: list[Probe]


class Vitals(msgspec.Struct, frozen=True, array_like=True):
    """What a process holds; 0 while unknown."""

    rss_mb: float = 0.0
    descriptors: int = 0
    threads: int = 0
    gpu_mb: float = 0.0
    cpu_percent: float = 0.0
    """Of one core, since it was last looked at."""


class StageState(msgspec.Struct, frozen=True, array_like=True):
    """One process as the supervisor sees it. `reason`: why it is not ready, for people."""

    process: str
    replica: int
    pid: int
    state: str
    restarts: int
    note: str
    reason: str
    vitals: Vitals


class GpuState(msgspec.Struct, frozen=True, array_like=True):
    """One GPU, all its users together. `busy_percent`: of the time, a kernel ran on it."""

    index: int
    busy_percent: float
    used_mb: float
    total_mb: float


class Status(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The supervisor's view of all; published on the topic `status`."""

    ready: bool
    draining: bool
    stages: list[StageState]
    gpus: list[GpuState] = []


class VersionError(Exception):
    """A message of another version arrived: two installations share a socket."""


_encoder = msgspec.msgpack.Encoder()
_message: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_report: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)
_notice: msgspec.msgpack.Decoder[Probes | Status] = msgspec.msgpack.Decoder(Probes | Status)
_PREFIX: Final = bytes([VERSION])
_Read = TypeVar("_Read")


def encode(message: Message | Report | Probes | Status) -> bytes:
    """One version byte, then msgpack."""
    return _PREFIX + _encoder.encode(message)


def _decoded(decoder: "msgspec.msgpack.Decoder[_Read]", raw: bytes) -> _Read:
    if raw[:1] != _PREFIX:
        raise VersionError(f"message version {raw[:1].hex() or 'none'}, this process speaks {VERSION:02x}")
    try:
        return decoder.decode(memoryview(raw)[1:])
    except (UnicodeDecodeError, RecursionError) as error:  # msgspec has no exception of its own for these
        raise msgspec.DecodeError(f"not a message: {error}") from None


def decode_message(raw: bytes) -> Message:
    """A header from the audio's path.

    Raises:
        VersionError: of another version.
        msgspec.DecodeError: not one of the types above.
    """
    return _decoded(_message, raw)


def decode_report(raw: bytes) -> Report:
    """What a stage tells the supervisor. Raises as decode_message."""
    return _decoded(_report, raw)


def decode_notice(raw: bytes) -> Probes | Status:
    """What is published for anyone. Raises as decode_message."""
    return _decoded(_notice, raw)
