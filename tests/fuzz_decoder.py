"""`python -m tests.fuzz_decoder --minutes 10`: the decoders alone, under atheris, which follows their branches.

Whatever bytes come, they are decoded or refused with a ProtocolError; anything else ends the run with the input that
did it. Needs the extra ``fuzz``.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pipeline.protocol", "pipeline.audio"]):
    from pipeline.protocol import binary, jsonform, live
    from pipeline.protocol.errors import ProtocolError

from tests.mutations import recorded

KINDS = 5


def one(data: bytes) -> None:
    """The first byte chooses the decoder."""
    kind, body = (data[0] % KINDS, data[1:]) if data else (0, b"")
    with contextlib.suppress(ProtocolError):
        if kind == 0:
            jsonform.decode(body)
        elif kind == 1:
            live.decode_binary(binary.decode(body), streaming=True)
        elif kind == 2:
            live.decode_binary(binary.decode(body), streaming=False)
        elif kind == 3:
            live.decode_frame_payload(memoryview(body))
        else:
            live.decode_base_payload(memoryview(body))


def main() -> None:
    """Entry point; libFuzzer ends the process."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_decoder", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    given = parser.parse_args()
    corpus = Path(tempfile.mkdtemp(prefix="lipwire-corpus-"))
    for number, message in enumerate(recorded()):
        kind = b"\0" if isinstance(message, str) else b"\1"
        (corpus / str(number)).write_bytes(kind + (message.encode() if isinstance(message, str) else message))
    options = [f"-max_total_time={round(given.minutes * 60)}", "-max_len=70000", "-print_final_stats=1", "-verbosity=1"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    os.chdir(corpus)  # where it writes the input that crashes
    atheris.Fuzz()


if __name__ == "__main__":
    main()
