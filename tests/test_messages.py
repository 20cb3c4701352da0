import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline import messages
from pipeline.messages import Message, Probe, Probes, Report, Status, VersionError
from pipeline.protocol.requests import Hearing
from pipeline.ring import SlotRef

# msgpack's integers end at 64 bits, and so do its floats.
INTEGERS = st.integers(-(2**63), 2**64 - 1)
TEXT = st.text(max_size=20)
BYTES = st.binary(max_size=64)
FLOATS = st.floats(allow_nan=False)
SLOTS = st.builds(SlotRef, TEXT, INTEGERS, INTEGERS, INTEGERS)
VITALS = st.builds(messages.Vitals, FLOATS, INTEGERS, INTEGERS, FLOATS, FLOATS)
ROUTES = st.builds(
    messages.Route,
    TEXT,
    TEXT,
    INTEGERS,
    INTEGERS,
    TEXT,
    st.booleans(),
    INTEGERS,
    INTEGERS,
    INTEGERS,
    INTEGERS,
    INTEGERS,
)
ARTICULATIONS = st.lists(FLOATS, max_size=8).map(tuple)
BOXES = st.tuples(INTEGERS, INTEGERS, INTEGERS, INTEGERS)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(messages.Chunk, ROUTES, BYTES, st.builds(Hearing, FLOATS)),
    st.builds(messages.FarEnd, ROUTES, BYTES),
    st.builds(messages.Prepare, ROUTES),
    st.builds(messages.Upload, ROUTES, SLOTS),
    st.builds(messages.Lookup, ROUTES),
    st.builds(messages.Close, ROUTES),
    st.builds(messages.Window, ROUTES, SLOTS, INTEGERS, FLOATS, st.booleans()),
    st.builds(
        messages.Features,
        ROUTES,
        BYTES,
        st.lists(INTEGERS, max_size=4).map(tuple),
        INTEGERS,
        FLOATS,
        st.booleans(),
    ),
    st.builds(messages.Mouth, ROUTES, SLOTS, ARTICULATIONS, INTEGERS, FLOATS, st.booleans(), INTEGERS),
    st.builds(
        messages.Frame,
        ROUTES,
        st.none() | SLOTS,
        st.none() | SLOTS,
        BOXES,
        INTEGERS,
        ARTICULATIONS,
        INTEGERS,
        FLOATS,
        st.booleans(),
        INTEGERS,
    ),
    st.builds(messages.Failed, ROUTES, TEXT, TEXT),
)
REPORTS: st.SearchStrategy[Report] = st.one_of(
    st.builds(messages.Ready, TEXT, INTEGERS, INTEGERS, TEXT),
    st.builds(messages.Heartbeat, TEXT, INTEGERS, INTEGERS),
)
STATES = st.builds(messages.StageState, TEXT, INTEGERS, INTEGERS, TEXT, INTEGERS, TEXT, TEXT, VITALS)
GPUS = st.builds(messages.GpuState, INTEGERS, FLOATS, FLOATS, FLOATS)
PROBES = st.builds(
    Probe,
    TEXT,
    INTEGERS,
    TEXT,
    INTEGERS,
    INTEGERS,
    INTEGERS,
    INTEGERS,
    INTEGERS,
    INTEGERS,
    st.dictionaries(TEXT, INTEGERS, max_size=4),
)
NOTICES: st.SearchStrategy[Probes | Status] = st.one_of(
    st.builds(Probes, st.lists(PROBES, max_size=4)),
    st.builds(Status, st.booleans(), st.booleans(), st.lists(STATES, max_size=4), st.lists(GPUS, max_size=2)),
)
ROUTE = messages.Route("a", "a", 1, 2, "default", True, messages.VIEW_FULL, 3, 4, 5)


@given(MESSAGES)
def test_every_header_comes_back_as_it_was(message: Message) -> None:
    assert messages.decode_message(messages.encode(message)) == message


@given(REPORTS)
def test_every_report_comes_back_as_it_was(report: Report) -> None:
    assert messages.decode_report(messages.encode(report)) == report


@given(NOTICES)
def test_every_notice_comes_back_as_it_was(notice: Probes | Status) -> None:
    assert messages.decode_notice(messages.encode(notice)) == notice


@given(st.integers(0, 255).filter(lambda version: version != messages.VERSION))
def test_a_foreign_version_is_refused_by_name(version: int) -> None:
    raw = bytes([version]) + messages.encode(messages.Close(ROUTE))[1:]
    for decode in (messages.decode_message, messages.decode_report, messages.decode_notice):
        with pytest.raises(VersionError, match=f"{version:02x}.*{messages.VERSION:02x}"):
            decode(raw)


def test_nothing_at_all_is_no_version() -> None:
    with pytest.raises(VersionError, match="none"):
        messages.decode_message(b"")


@given(st.binary(max_size=80))
@example(b"\x91\xa1\x80").via("a tag that is not UTF-8")
def test_noise_raises_what_the_docstring_says_and_nothing_else(noise: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        messages.decode_message(bytes([messages.VERSION]) + noise)


def test_a_report_is_no_header() -> None:
    with pytest.raises(msgspec.ValidationError):
        messages.decode_message(messages.encode(messages.Heartbeat("mel", 0, 1)))
