"""The protocol without any I/O: the document's examples decode, what is broken is named, nothing else is raised."""

import base64
import contextlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.audio import WINDOW_SAMPLES
from pipeline.protocol import binary, jsonform, live
from pipeline.protocol.binary import BinaryType
from pipeline.protocol.errors import ErrorCode, Failure, ProtocolError
from pipeline.protocol.live import FrameMeta
from pipeline.protocol.requests import FeatureRequest, Pace, StartStream, View, WindowRequest
from tests.running import ROOT

DOCUMENT = (ROOT / "docs" / "protocol.md").read_text()
VECTORS = json.loads((ROOT / "tests" / "vectors" / "protocol.json").read_text())
TINY_JPEG = bytes.fromhex("ffd8ffd9")


def example(kind: str) -> str:
    """The fenced block of the document that is labelled `kind`."""
    found = re.search(rf"```{re.escape(kind)}\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found, f"docs/protocol.md has no example {kind!r}"
    return found.group(1)


def hex_example(name: str) -> bytes:
    return bytes.fromhex(example(f"hex {name}"))


class TestTheDocumentsExamples:
    @pytest.mark.parametrize(
        ("name", "size", "kind"),
        [
            ("audio_request", 61_440, BinaryType.AUDIO_REQUEST),
            ("audio_chunk", 1_920, BinaryType.AUDIO_CHUNK),
            ("far_end", 1_920, BinaryType.FAR_END),
        ],
    )
    def test_silence_with_its_zeros_filled_in(self, name: str, size: int, kind: BinaryType) -> None:
        message = hex_example(f"{name} header") + bytes(size) + hex_example(f"{name} crc")
        decoded = binary.decode(message)
        assert (decoded.type, decoded.frame_id) == (kind, 3)
        request = live.decode_binary(decoded, streaming=True)
        assert not getattr(request, "samples").any()  # noqa: B009 - all three kinds have samples

    def test_the_sound_of_a_watched_session(self) -> None:
        message = binary.decode(hex_example("sound header") + bytes(1_920) + hex_example("sound crc"))
        assert (message.type, message.frame_id) == (BinaryType.SOUND, 3)

    def test_frame_response(self) -> None:
        kind, frame_id, payload = binary.decode(hex_example("frame_response"))
        assert (kind, frame_id, bytes(payload)) == (BinaryType.FRAME_RESPONSE, 9, TINY_JPEG)

    @pytest.mark.parametrize("name", ["live_frame", "mouth_patch"])
    def test_frames_with_a_description(self, name: str) -> None:
        message = binary.decode(hex_example(name))
        meta, image = live.decode_frame_payload(message.payload)
        assert message.type == BinaryType[name.upper()]
        assert (meta.chunk, meta.audio_ms, bytes(image)) == (7, 280.0, TINY_JPEG)
        assert (meta.box is not None) == (name == "mouth_patch")

    def test_base_frame(self) -> None:
        kind, frame_id, payload = binary.decode(hex_example("base_frame"))
        base, image = live.decode_base_payload(payload)
        assert (kind, frame_id, bytes(image)) == (BinaryType.BASE_FRAME, 7, TINY_JPEG)
        assert base == live.BaseMeta(speaker="default", base=7)

    def test_json_messages(self) -> None:
        start = jsonform.decode(example("json start_stream"))
        assert start == StartStream(1, "default", Pace.LIVE, View.FULL, 0.01, "booth-1")
        for label, kind in [
            ("json stream_started", live.StreamStarted),
            ("json frame description", FrameMeta),
            ("json failure", Failure),
        ]:
            shown = json.loads(example(label))
            assert set(shown) <= set(kind.__struct_fields__)

    def test_every_error_is_explained(self) -> None:
        for code in ErrorCode:
            assert f"`{code.value}`" in DOCUMENT


class TestBinary:
    @given(st.sampled_from(BinaryType), st.integers(0, 0xFFFF_FFFF), st.lists(st.binary(max_size=200), max_size=4))
    def test_round_trip(self, kind: BinaryType, frame_id: int, pieces: list[bytes]) -> None:
        message = binary.decode(binary.encode(kind, frame_id, *pieces))
        assert (message.type, message.frame_id, bytes(message.payload)) == (kind, frame_id, b"".join(pieces))

    @given(st.data(), st.binary(max_size=100))
    def test_one_changed_byte_of_payload_or_crc_is_always_noticed(self, data: st.DataObject, payload: bytes) -> None:
        message = bytearray(binary.encode(BinaryType.AUDIO_CHUNK, 1, payload))
        at = data.draw(st.integers(13, len(message) - 1))
        message[at] ^= data.draw(st.integers(1, 255))
        with pytest.raises(ProtocolError) as error:
            binary.decode(bytes(message))
        assert error.value.code is ErrorCode.INVALID_CRC

    @given(st.binary(max_size=200))
    def test_noise_raises_nothing_but_protocol_errors(self, noise: bytes) -> None:
        for message in (noise, binary.encode(BinaryType.LIVE_FRAME, 0, noise)):
            with contextlib.suppress(ProtocolError):
                live.decode_frame_payload(binary.decode(message).payload)

    @pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
    def test_vectors_shared_with_the_browser(self, vector: dict[str, Any]) -> None:
        payload = bytes.fromhex(vector["payload_hex"])
        assert binary.encode(BinaryType(vector["type"]), vector["frame_id"], payload).hex() == vector["hex"]
        kind, frame_id, decoded = binary.decode(bytes.fromhex(vector["hex"]))
        assert (kind, frame_id, bytes(decoded)) == (vector["type"], vector["frame_id"], payload)

    def test_the_browsers_codec_passes_the_same_vectors(self, tmp_path: Path) -> None:
        script = tmp_path / "check.mjs"
        script.write_text(
            f"""
            import {{ readFileSync }} from "node:fs";
            import assert from "node:assert";
            import {{ decode, encode }} from "{(ROOT / "webclient" / "codec.js").as_uri()}";
            const vectors = JSON.parse(readFileSync("{ROOT / "tests" / "vectors" / "protocol.json"}"));
            for (const vector of vectors) {{
              const payload = Uint8Array.from(Buffer.from(vector.payload_hex, "hex"));
              const message = encode(vector.type, vector.frame_id, payload);
              assert.equal(Buffer.from(message).toString("hex"), vector.hex, vector.name);
              const decoded = decode(message.buffer);
              assert.equal(decoded.type, vector.type);
              assert.equal(decoded.frameId, vector.frame_id);
              assert.deepEqual(decoded.payload, payload);
            }}
            assert.throws(() => decode(new ArrayBuffer(3)), /too short/);
            """
        )
        result = subprocess.run(["node", str(script)], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr


class TestJson:
    @given(st.text())
    def test_any_text_raises_nothing_but_protocol_errors(self, text: str) -> None:
        with pytest.raises(ProtocolError):
            jsonform.decode(text)

    @given(
        st.dictionaries(
            st.sampled_from(["action", "frame_id", "audio_data", "use_real_audio", "speaker", "version", "x"]),
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["generate_frame"]),
        )
    )
    def test_any_object_raises_nothing_but_protocol_errors(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(ProtocolError):
            jsonform.decode(json.dumps(message))

    def test_int16_and_float32_give_the_same_samples(self) -> None:
        integers = np.arange(WINDOW_SAMPLES, dtype="<i2")
        floats = (integers / 32_768).astype("<f4")
        requests = [
            jsonform.decode(
                json.dumps(
                    {
                        "action": "generate_frame",
                        "frame_id": 1,
                        "audio_data": base64.b64encode(samples.tobytes()).decode(),
                        "use_real_audio": True,
                        "a_key_of_the_future": 1,
                    }
                )
            )
            for samples in (integers, floats)
        ]
        for request in requests:
            assert isinstance(request, WindowRequest)
            np.testing.assert_array_equal(request.samples, floats)

    def test_without_real_audio_the_audio_is_not_even_read(self) -> None:
        text = '{"action": "generate_frame", "frame_id": 5, "audio_data": "???", "use_real_audio": false}'
        request = jsonform.decode(text)
        assert isinstance(request, FeatureRequest)
        assert request.frame_id == 5


class TestLive:
    @given(
        st.integers(0, 2**40),
        st.floats(-1e6, 1e6),
        st.floats(0, 1),
        st.dictionaries(st.text(max_size=9), st.floats(-1, 1)),
    )
    def test_a_description_comes_back_as_it_was(
        self, chunk: int, audio_ms: float, level: float, articulation: dict[str, float]
    ) -> None:
        meta = FrameMeta(
            chunk=chunk,
            audio_ms=audio_ms,
            server_ms=1.0,
            level=level,
            base=3,
            speaker="default",
            articulation=articulation,
        )
        payload = live.image_head(meta) + TINY_JPEG
        decoded, image = live.decode_frame_payload(memoryview(payload))
        assert (decoded, bytes(image)) == (meta, TINY_JPEG)
