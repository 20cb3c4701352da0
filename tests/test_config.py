import os
import sys
from pathlib import Path

import msgspec
import pytest

from pipeline.config import Config, ConfigError, default_config_path, load_config

SHIPPED = Path(__file__).resolve().parent.parent / "supervisor.toml"
FIRST_RING = '[ring.windows]\nowner = "ingest"\nslots = 128\nslot_bytes = 61440'


def test_the_shipped_file_loads_and_says_what_the_defaults_say() -> None:
    config = load_config(SHIPPED)
    assert list(config.process) == ["edge", "ingest", "mel", "infer", "publish", "mic", "metrics"]
    assert list(config.started().process) == ["edge", "ingest", "mel", "infer", "publish"]
    defaults = Config(process=config.process, socket=config.socket, ring=config.ring)
    assert config == defaults


def test_the_shipped_sends_all_reach_somebody() -> None:
    config = load_config(SHIPPED)
    receivers = {
        socket: config.receiver_of(socket)[0] for process in config.process.values() for socket in process.sends
    }
    assert receivers == {
        "chunks": "ingest",
        "windows": "mel",
        "features": "infer",
        "mouths": "publish",
        "frames": "edge",
    }


def changed(folder: Path, old: str, new: str) -> Path:
    text = SHIPPED.read_text(encoding="utf-8")
    assert old in text, f"the shipped file no longer says {old!r}"
    path = folder / "mine.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "key", "reason"),
    [
        ("[limits]", "[limitz]", "limitz", "there is no such key"),
        ('speaker = "default"', 'speker = "default"', "pipeline.speker", "there is no such key"),
        (FIRST_RING, FIRST_RING.replace("slots", "slotz"), "ring.windows.slotz", "there is no such key"),
        (FIRST_RING, FIRST_RING.replace("slots = 128", ""), "ring.windows.slots", "missing"),
        (FIRST_RING, FIRST_RING.replace("128", '"128"'), "ring.windows.slots", "got `str`"),
        (FIRST_RING, FIRST_RING.replace("128", "1.5"), "ring.windows.slots", "got `float`"),
        (FIRST_RING, FIRST_RING.replace("128", "true"), "ring.windows.slots", "got `bool`"),
        (FIRST_RING, FIRST_RING.replace("128", "0"), "ring.windows.slots", ">= 1"),
        ("[ring.windows]", "[ring.Windows]", "ring.Windows", "lower-case"),
        ("silence_threshold = 0.01", "silence_threshold = 1.5", "pipeline.silence_threshold", "<= 1.0"),
        ('sends = ["chunks"]', 'sends = ["chunks", 3]', "process.edge.sends[1]", "got `int`"),
        ('sends = ["chunks"]', 'sends = "chunks"', "process.edge.sends", "Expected `array`"),
        (
            'sends = ["chunks"]',
            'sends = ["chunks"]\nrestart = {policy = "often"}',
            "process.edge.restart.policy",
            "one of always, never",
        ),
        ('module = "stages.edge"', 'module = "stages/edge.py"', "process.edge.module", "regex"),
        ('module = "stages.edge"', 'module = "stages.egde"', "process.edge.module", "no module"),
        ('module = "stages.edge"', 'module = "stagez.edge"', "process.edge.module", "no module"),
        ('module = "stages.edge"', 'module = "stages..edge"', "process.edge.module", "no module"),
        ('receives = "chunks"', 'receives = "chunkz"', "process.ingest.receives", "not defined"),
        ('sends = ["chunks"]', 'sends = ["chunkz"]', "process.edge.sends", "not defined"),
        ('receives = "windows"', 'receives = "chunks"', "process.mel.receives", "already bound by ingest"),
        ('owner = "ingest"', 'owner = "nobody"', "ring.windows.owner", "no process 'nobody'"),
        ("[socket.chunks]", "[socket.idle]\n\n[socket.chunks]", "socket.idle", "nobody receives"),
        (
            "heartbeat_timeout_ms = 1200",
            "heartbeat_timeout_ms = 200",
            "pipeline.heartbeat_timeout_ms",
            "not longer than heartbeat_ms",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_file_key_and_reason(
    tmp_path: Path, old: str, new: str, key: str, reason: str
) -> None:
    path = changed(tmp_path, old, new)
    with pytest.raises(ConfigError) as refusal:
        load_config(path)
    assert str(refusal.value).startswith(f"{path}: {key}: ")
    assert reason in str(refusal.value)


def test_a_socket_that_is_sent_to_needs_a_receiver(tmp_path: Path) -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    text = text.replace('sends = ["chunks"]', 'sends = ["chunks", "void"]') + "\n[socket.void]\n"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"process\.edge\.sends: nobody receives 'void'"):
        load_config(path)


def test_a_core_that_this_machine_does_not_lend_is_refused(tmp_path: Path) -> None:
    mine, absent = min(os.sched_getaffinity(0)), 100_000
    path = changed(tmp_path, "threads = 1", f"threads = 1\ncpus = [{mine}, {absent}]")
    with pytest.raises(ConfigError, match=rf"process\.infer\.cpus: .*\[{absent}\]"):
        load_config(path)


def test_no_file_no_text_no_toml_are_each_said(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.toml"
    with pytest.raises(ConfigError, match="no such file; name another with --config"):
        load_config(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="utf-8"):
        load_config(path)
    path.write_text("[ring.windows", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"Expected .\]. at the end"):
        load_config(path)
    path.write_text("ring = 3", encoding="utf-8")
    with pytest.raises(ConfigError, match="ring: Expected `object`, got `int`"):
        load_config(path)
    with pytest.raises(ConfigError, match="directory"):
        load_config(tmp_path)


def test_the_file_in_the_working_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_config_path() == SHIPPED
    (tmp_path / "supervisor.toml").touch()
    assert default_config_path() == Path("supervisor.toml")


LISTENER = '[process.ear]\nmodule = "ear"\nreceives = "heard"\n[socket.heard]\ncopy_of = "mouths"\n'


def test_an_addition_adds_to_tables_and_replaces_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", list(sys.path))
    (tmp_path / "ear.py").touch()  # a process's module is found beside the file that names it
    addition = tmp_path / "addition.toml"
    addition.write_text(f"[limits]\nsessions = 3\n[process.infer]\nthreads = 2\n{LISTENER}")
    shipped, config = load_config(SHIPPED), load_config(SHIPPED, [addition])
    assert config.limits == msgspec.structs.replace(shipped.limits, sessions=3)
    assert config.process["infer"] == msgspec.structs.replace(shipped.process["infer"], threads=2)
    assert config.receiver_of("heard")[0] == "ear"
    assert config.socket.keys() - shipped.socket.keys() == {"heard"}


def test_nothing_is_copied_for_a_process_that_is_not_started(tmp_path: Path) -> None:
    addition = tmp_path / "addition.toml"
    addition.write_text(LISTENER.replace('"ear"\n', '"stages.mel"\nstart = false\n', 1))
    assert "heard" not in load_config(SHIPPED, [addition]).started().socket


@pytest.mark.parametrize("origin", ["moths", "heard"])
def test_a_copy_is_of_a_socket_that_has_messages_of_its_own(tmp_path: Path, origin: str) -> None:
    addition = tmp_path / "addition.toml"
    addition.write_text(LISTENER.replace('"ear"\n', '"stages.mel"\n', 1).replace("mouths", origin))
    with pytest.raises(ConfigError, match=rf"supervisor.toml with .*socket\.heard\.copy_of: '{origin}' is no socket"):
        load_config(SHIPPED, [addition])
