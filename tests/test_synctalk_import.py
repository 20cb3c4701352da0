"""Checkpoints of SyncTalk_2D and Ultralight-Digital-Human become speakers; what cannot is said, file by file."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st

from models.speaker import SPEAKERS_DIR, BaseSpec, Speaker, SpeakerError, open_speaker

torch = pytest.importorskip("torch")
librosa = pytest.importorskip("librosa")

from models.compose import Composer  # noqa: E402
from models.engine.image import ImageEngine  # noqa: E402
from models.features import of_speaker  # noqa: E402
from models.synctalk2d import dataset, ears  # noqa: E402
from models.synctalk2d.checkpoint import load_painter  # noqa: E402
from models.synctalk2d.convert import convert, picture_of  # noqa: E402
from tests import synctalk  # noqa: E402
from tests.running import config_with, running, voice  # noqa: E402
from tests.test_pipeline_protocols import WINDOW, ask  # noqa: E402


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synctalk")
    synctalk.checkpoint(folder / "unet.pth")
    synctalk.encoder(folder / "encoder.pth")
    synctalk.dataset(folder / "data")
    return folder


@pytest.fixture(scope="module")
def imported(material: Path) -> Speaker:
    return convert(
        material / "unet.pth",
        material / "data",
        "imported",
        encoder=material / "encoder.pth",
        licence="random weights",
        speakers_dir=material / "speakers",
    )


def test_the_front_end_is_the_originals() -> None:
    sound = ears.resampled(voice(seed=4))
    emphasised = np.append(sound[0], sound[1:] - 0.97 * sound[:-1]).astype(np.float32)
    amplitude = np.abs(librosa.stft(y=emphasised, n_fft=800, hop_length=200, win_length=800))
    bank = librosa.filters.mel(sr=16_000, n_fft=800, n_mels=80, fmin=55, fmax=7_600)
    decibels = 20 * np.log10(np.maximum(np.exp(-5 * np.log(10)), bank @ amplitude)) - 20
    expected = np.clip(8 * ((decibels + 100) / 100) - 4, -4, 4).T
    found = ears.mel(sound)
    assert found.shape == (52, 80)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    pieces = ears.Ears()(voice(seed=4))
    assert pieces.shape == (1, 16, 80, 16)
    np.testing.assert_array_equal(pieces[0, 5], found[16:32].T)  # 5 x 3.2
    np.testing.assert_array_equal(pieces[0, 15], found[36:52].T)  # the last whole one


@given(st.integers(2, 40), st.integers(1, 120))
def test_frames_go_back_and_forth_as_the_original_walks_them(count: int, frames: int) -> None:
    spec = BaseSpec(width=1, height=1, fps=25, count=count, frames="", placement="", order="back-and-forth")
    walked, place, step = [], 0, 0
    for _ in range(frames):
        if place > count - 2:
            step = -1
        if place < 1:
            step = 1
        place += step
        walked.append(place)
    assert [spec.index(frame) for frame in range(frames)] == walked


def test_the_package_paints_what_pytorch_paints(material: Path, imported: Speaker) -> None:
    network, side = load_painter(material / "unet.pth", "ave")
    engine = ImageEngine(imported)
    said = np.random.default_rng(0).standard_normal((2, 16 * 512)).astype(np.float32)
    bases = [1, 3]
    with torch.inference_mode():
        image = torch.from_numpy(picture_of([imported.crop(base) for base in bases], side))
        expected = network(image, torch.from_numpy(said).reshape(-1, 32, 16, 16)).numpy()
    rgb = (expected * 255).astype(np.uint8)[:, ::-1].transpose(0, 2, 3, 1)
    assert np.abs(engine.paint(said, bases).astype(int) - rgb).max() <= 1


def test_it_is_pasted_where_it_was_cut_out(imported: Speaker) -> None:
    composer = Composer(imported)
    crop = imported.crop(2)
    box, mixed = composer.mix(crop, 2)
    left, top, side = synctalk.SQUARE
    assert left + 2 < box.x < left + 2 + 8
    assert top < box.y < top + 8
    assert side - 16 < box.width < side
    frame = cv2.imread(str(imported.path("frames/00002.jpg")), cv2.IMREAD_COLOR_RGB)
    assert frame is not None
    under = frame[box.y : box.y + box.height, box.x : box.x + box.width].astype(int)
    assert np.abs(mixed.astype(int) - under)[4:-4, 4:-4].mean() < 4  # the crop was scaled down and up again


def test_what_is_hidden_is_what_opencv_makes_of_the_originals_numbers(imported: Speaker) -> None:
    crop = imported.crop(0)
    black = cv2.rectangle(np.ascontiguousarray(crop[..., ::-1]), (5, 5, 150, 145), (0, 0, 0), -1)
    expected = np.asarray(black).transpose(2, 0, 1).astype(np.float32) / 255
    np.testing.assert_array_equal(picture_of([crop], 160)[0, 3:], expected)


def test_its_manifest_says_what_it_is(imported: Speaker) -> None:
    manifest = imported.manifest
    assert manifest.front_end == "synctalk2d"
    assert manifest.lookahead_ms == ears.LOOKAHEAD_MS == 280
    assert manifest.image is not None
    assert manifest.image.colour == "bgr"
    assert manifest.image.hidden == (5, 5, 154, 149)
    assert manifest.base.order == "back-and-forth"
    assert imported.path("painter.safetensors").is_file()


def test_its_own_features_are_the_originals(imported: Speaker) -> None:
    sound = voice(24_000 * 2)
    table = of_speaker(sound, imported)
    assert table.shape == (int((161 - 16) / 80 * 25) + 2 + 2, 512)  # 161 mel frames
    np.testing.assert_array_equal(table[0], table[1])
    np.testing.assert_array_equal(table[-1], table[-2])
    spectrogram = ears.mel(ears.resampled(sound))
    alone = ImageEngine(imported).articulate(np.stack([spectrogram[48:64].T] * 16)[None])
    np.testing.assert_allclose(table[1 + 15], alone[0, :512], atol=1e-5)


async def test_one_without_ears_shows_its_own_features_and_says_that_it_hears_nothing(
    material: Path, tmp_path: Path
) -> None:
    table = np.random.default_rng(0).standard_normal((6, 2, 1024)).astype(np.float32)
    np.save(tmp_path / "aud_hu.npy", table)
    checkpoint = synctalk.checkpoint(tmp_path / "ultralight.pth", mode="hubert")
    folder = tmp_path / "speakers"
    shutil.copytree(SPEAKERS_DIR / "default", folder / "default")
    features = tmp_path / "aud_hu.npy"
    convert(checkpoint, material / "data", "deaf", mode="hubert", features=features, speakers_dir=folder)
    changes = {r"\[pipeline\]": f'[pipeline]\nspeakers_dir = "{folder}"', "deadline_ms = 500": "deadline_ms = 20000"}
    with running(tmp_path / "log.txt", "--config", str(config_with(tmp_path, **changes))) as pipeline:
        async with websockets.connect(pipeline.ws, max_size=None) as socket:
            request = {"action": "generate_frame", "frame_id": 5, "use_real_audio": False, "speaker": "deaf"}
            await socket.send(json.dumps(request))
            assert json.loads(await socket.recv())["success"]
            await socket.send(json.dumps(request | {"frame_id": 6}))
            assert "frame_id is 0..5" in json.loads(await socket.recv())["message"]
            await socket.send(ask(WINDOW.tobytes(), speaker="deaf"))
            assert "hears no live sound" in json.loads(await socket.recv())["message"]
            await socket.send(json.dumps({"action": "start_stream", "version": 1, "speaker": "deaf"}))
            assert "hears no live sound" in json.loads(await socket.recv())["message"]


def test_parsing_keeps_what_is_before_the_mouth(material: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(material / "data", data)
    (data / "parsing").mkdir()
    for number in range(5):
        picture = np.zeros((512, 512, 3), np.uint8)
        picture[:, 256:] = (0, 0, 255)  # as OpenCV writes it
        cv2.imwrite(str(data / "parsing" / f"{number}.png"), picture)
    frame = list(dataset.frames(data, 160, 5))[1]
    assert frame.seen.shape == (160, 160)
    assert frame.seen[:, :60].min() == 255
    assert frame.seen[:, -60:].max() == 0


def test_a_mask_for_each_base_frame_is_obeyed(imported: Speaker, tmp_path: Path) -> None:
    folder = tmp_path / "imported"
    shutil.copytree(imported.folder, folder)
    (folder / "masks").mkdir()
    for number in range(5):
        mask = np.zeros((160, 160), np.uint8)
        mask[:, : 80 if number == 1 else 0] = 255
        cv2.imwrite(str(folder / "masks" / f"{number}.png"), mask)
    spec = msgspec.structs.replace(imported.manifest.mouth, mask="masks/{}.png")
    speaker = Speaker(folder, msgspec.structs.replace(imported.manifest, mouth=spec))
    composer = Composer(speaker)
    box, mixed = composer.mix(np.zeros((160, 160, 3), np.uint8), 1)
    frame = cv2.imread(str(speaker.path("frames/00001.jpg")), cv2.IMREAD_COLOR_RGB)
    assert frame is not None
    under = frame[box.y : box.y + box.height, box.x : box.x + box.width]
    half = box.width // 2
    np.testing.assert_allclose(mixed[:, half + 4 :], under[:, half + 4 :], atol=1)
    assert mixed[4:-4, 4 : half - 4].max() < 20
    _, untouched = composer.mix(np.zeros((160, 160, 3), np.uint8), 2)
    assert untouched.max() > 100


class Evil:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (open, ("/tmp/lipwire-was-here", "w"))  # type: ignore[return-value]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5_000])


def _without(path: Path, name: str) -> None:
    state = torch.load(path, weights_only=True)
    del state[name]
    torch.save(state, path)


def _as_wenet(path: Path) -> None:
    """Of another encoder, which says 256 channels."""
    state = torch.load(path, weights_only=True)
    state["audio_model.conv1.conv.0.weight"] = torch.zeros(512, 256, 1, 1)
    torch.save(state, path)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a truncated checkpoint": (lambda f: _cut(f / "unet.pth"), r"unet\.pth: not a whole PyTorch file"),
    "no checkpoint": (lambda f: (f / "unet.pth").unlink(), r"unet\.pth: no such file"),
    "pickled code": (
        lambda f: (f / "unet.pth").write_bytes(pickle.dumps(Evil())),
        r"unet\.pth: not plain weights \(it may carry code, which is never run here\)",
    ),
    "no weights": (lambda f: torch.save([1, 2], f / "unet.pth"), r"expected weights by name .*found list"),
    "a key is missing": (
        lambda f: _without(f / "unet.pth", "outc.conv.weight"),
        r"not a U-Net of 160 pixels in mode 'ave': no outc\.conv\.weight",
    ),
    "another mode": (
        lambda f: _as_wenet(f / "unet.pth"),
        r"audio_model\.conv1\.conv\.0\.weight has the shape \(512, 256, 1, 1\).*another mode than",
    ),
    "the encoder is a U-Net": (
        lambda f: synctalk.checkpoint(f / "encoder.pth"),
        r"encoder\.pth: not SyncTalk_2D's audio encoder",
    ),
    "no dataset": (lambda f: shutil.rmtree(f / "data" / "landmarks"), r"no SyncTalk_2D dataset: expected the folders"),
    "a frame is missing": (
        lambda f: (f / "data/full_body_img/2.jpg").unlink(),
        r"full_body_img/2\.jpg: missing: frames are numbered",
    ),
    "landmarks are missing": (
        lambda f: (f / "data/landmarks/3.lms").unlink(),
        r"landmarks/3\.lms: missing",
    ),
    "landmarks are empty": (
        lambda f: (f / "data/landmarks/3.lms").write_text(""),
        r"3\.lms: \(0,\) landmarks, expected \(110, 2\)",
    ),
    "landmarks are words": (
        lambda f: (f / "data/landmarks/3.lms").write_text("a b\n" * 110),
        r"3\.lms: expected x and y on each line",
    ),
    "the crop leaves the frame": (
        lambda f: synctalk.landmarks(f / "data", 3, (400, 236, 200)),
        r"3\.lms: the mouth's square \(400, 236, 200\)",
    ),
    "a picture is none": (
        lambda f: (f / "data/full_body_img/1.jpg").write_bytes(b"no picture"),
        r"1\.jpg: not a picture that can be read",
    ),
    "a name that is none": (lambda f: None, r"no speaker's name"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_imported_is_said(material: Path, tmp_path: Path, case: str) -> None:
    for file in ("unet.pth", "encoder.pth"):
        shutil.copyfile(material / file, tmp_path / file)
    shutil.copytree(material / "data", tmp_path / "data")
    spoil, words = BROKEN[case]
    spoil(tmp_path)
    name = "Not A Name" if "name that" in case else "fine"
    with pytest.raises(SpeakerError, match=words):
        convert(
            tmp_path / "unet.pth",
            tmp_path / "data",
            name,
            encoder=tmp_path / "encoder.pth",
            speakers_dir=tmp_path / "speakers",
        )
    assert not Path("/tmp/lipwire-was-here").exists()
    assert not list((tmp_path / "speakers").glob("*")) if (tmp_path / "speakers").exists() else True


def test_a_manifest_that_hides_what_is_not_there_is_refused(imported: Speaker, tmp_path: Path) -> None:
    folder = tmp_path / "imported"
    shutil.copytree(imported.folder, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["image"]["hidden"] = [5, 5, 500, 145]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SpeakerError, match=r"image\.hidden .* is no rectangle"):
        open_speaker("imported", tmp_path)


def test_what_does_not_go_with_the_mode_is_said(material: Path, tmp_path: Path) -> None:
    unet, data = material / "unet.pth", material / "data"
    np.save(tmp_path / "narrow.npy", np.zeros((9, 512), np.float32))
    with pytest.raises(SpeakerError, match="mode 'ave' hears with an audio encoder: give it with --encoder"):
        convert(unet, data, "fine", speakers_dir=tmp_path)
    with pytest.raises(SpeakerError, match="leave --encoder out"):
        convert(unet, data, "fine", mode="hubert", encoder=material / "encoder.pth", speakers_dir=tmp_path)
    with pytest.raises(SpeakerError, match=r"aud_hu\.npy: no such file; give the precomputed features"):
        convert(unet, data, "fine", mode="hubert", speakers_dir=tmp_path)
    with pytest.raises(SpeakerError, match=r"shape \(9, 512\), expected \(T, 2048\) for mode 'hubert'"):
        convert(unet, data, "fine", mode="hubert", features=tmp_path / "narrow.npy", speakers_dir=tmp_path)
