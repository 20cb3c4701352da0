"""One connection at the edge: what waits to be sent to it, its stream, what it watches."""

import time
import uuid

from websockets.asyncio.server import ServerConnection, broadcast

from pipeline.config import LimitsConfig
from pipeline.protocol.requests import View
from pipeline.sendqueue import SendQueue
from stages.clients.doors import Allowance
from stages.clients.streams import Stream


class Client:
    """From the handshake to the end of the connection."""

    def __init__(self, connection: ServerConnection, limits: LimitsConfig) -> None:
        self.id = uuid.uuid4().hex
        self.connection = connection
        self.queue = SendQueue(limits.send_queue_frames, self._write_now)
        self.view = View.FULL
        """What it gets; FULL or PATCH."""
        self.wanted_view = View.FULL
        self.stream: Stream[Client] | None = None
        self.watching: Stream[Client] | None = None
        self.wants_sound = False
        """Of the stream that it watches."""
        self.wants_stats = False
        self.next_request = 0
        self.closing = False
        self.bases_sent: set[tuple[str, int]] = set()
        self.messages = Allowance(limits.requests_per_s)
        self.heard_at = time.monotonic()

    def _write_now(self, data: bytes | str) -> bool:
        """Out at once, where the client has taken all that it was sent: the task that writes wakes a moment later."""
        if self.connection.transport.get_write_buffer_size():
            return False
        broadcast([self.connection], data)  # the library's way to write without waiting
        return True

    def choose_view(self, *, patches: bool) -> None:
        """As it wants it, or, where it leaves the choice, as the machine has it."""
        chosen = View.PATCH if patches else View.FULL
        self.view = chosen if self.wanted_view is View.AUTO else self.wanted_view

    def idle_s(self) -> float:
        """Since when it has said nothing; whoever watches or follows the figures need not speak."""
        if self.watching is not None or self.wants_stats:
            return 0.0
        return time.monotonic() - self.heard_at
