"""Assemble a speaker package: `python -m models.training.package OUT --look default --renders DIR --painter
FILE`.

A speaker is a folder: what the networks are, the frames the mouth is painted on, where it goes on each, and
the licences. Nothing in it is ever unpickled. The articulator comes with a JSON of the same name that states
its `front_end` and `lookahead_ms`; without `--articulator` the one already in OUT is kept.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import simplejpeg
import structlog

from models.articulation import CHANNELS, REST
from models.speaker import digests
from models.training.face import idle, view
from models.training.face.identities import LOOKS, Look

log = structlog.get_logger()

FORMAT: Final = 1
LICENCE: Final = "MIT; face: ICT-FaceKit, (c) 2020 USC ICT, MIT; voice: trained on LibriSpeech, CC BY 4.0"
NOTICE: Final = """\
{title}, a speaker of lipwire, is nobody: a face made from ICT-FaceKit, rendered with Blender, painted by a
network.

Geometry and expressions
    ICT-FaceKit, https://github.com/ICT-VGL/ICT-FaceKit, (c) 2020 USC Institute for Creative Technologies, MIT
    licence (see LICENSE). R. Li et al., "Learning Formation of Physically-Based Face Attributes",
    CVPR 2020. The pictures in frames/ and painter.onnx are made from it by lipwire's models/training.

Speech
    articulator.onnx was trained on, and the rendered mouths were chosen along, the LibriSpeech ASR corpus,
    V. Panayotov, G. Chen, D. Povey, S. Khudanpur, ICASSP 2015, https://www.openslr.org/12, CC BY 4.0,
    https://creativecommons.org/licenses/by/4.0/. Changed: degraded by noise, rooms and codecs, and aligned with
    phones. The networks contain no recording.
"""


def paint_rest(painter: Path) -> idle.Image:
    """[160, 160, 3] the mouth at rest, as this painter paints it."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(painter), providers=["CPUExecutionProvider"])
    rest = np.array([REST], np.float32)
    return np.asarray(session.run(None, {"articulation": rest})[0][0], np.float32)


def write_frames(renders: Path, painter: Path, out: Path, look: Look, quality: int) -> None:
    """The idle loop's frames, placements and mask."""
    folder = out / "frames"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rest = paint_rest(painter)
    source = idle.stills(renders, rest)
    placements = []
    for number in range(idle.COUNT):
        move = idle.motion(number, seed=0.37 * look.seed)
        picture = np.ascontiguousarray(idle.frame(source, move, rest))
        jpeg = simplejpeg.encode_jpeg(picture, quality=quality, colorspace="RGB", colorsubsampling="420")
        (folder / f"{number:03d}.jpg").write_bytes(jpeg)
        placements.append(move.placement)
    np.save(out / "placement.npy", np.stack(placements).astype(np.float32))
    cv2.imwrite(str(out / "mask.png"), idle.mask())


def form(front_end: str, lookahead_ms: int, count: int) -> dict[str, Any]:
    """What the manifests of all speakers of this project's own networks have in common."""
    return {
        "front_end": front_end,
        "lookahead_ms": lookahead_ms,
        "channels": list(CHANNELS),
        "rest": list(REST),
        "articulator": "articulator.onnx",
        "painter": "painter.onnx",
        "mouth": {"width": view.MOUTH, "height": view.MOUTH, "mask": "mask.png"},
        "base": {
            "width": view.SIZE,
            "height": view.SIZE,
            "fps": idle.FPS,
            "count": count,
            "frames": "frames/{:03d}.jpg",
            "placement": "placement.npy",
        },
    }


def manifest(out: Path, look: Look, articulator: dict[str, Any]) -> dict[str, Any]:
    """The package's description; `files` has the SHA-256 of everything else in the folder."""
    files = digests(out)
    described = {
        "format": FORMAT,
        "name": look.name,
        "title": look.title,
        "description": look.description,
        "licence": LICENCE,
        **form(articulator["front_end"], round(articulator["lookahead_ms"]), idle.COUNT),
        "files": files,
    }
    if "features.npy" in files:
        described["features"] = "features.npy"  # the speaker's own, for the original's test mode
    return described


def package(
    renders: Path | None,
    painter: Path | None,
    out: Path,
    look: Look,
    *,
    articulator: Path | None,
    quality: int,
) -> None:
    """Write the folder; without `renders` and `painter` only the articulator and the manifest are renewed."""
    out.mkdir(parents=True, exist_ok=True)
    if renders is not None and painter is not None:
        write_frames(renders, painter, out, look, quality)
        shutil.copyfile(painter, out / "painter.onnx")
    if articulator is not None:
        shutil.copyfile(articulator, out / "articulator.onnx")
        facts = json.loads(articulator.with_suffix(".json").read_text())
    elif (out / "manifest.json").is_file():
        facts = json.loads((out / "manifest.json").read_text())
    else:
        facts = {"front_end": "original", "lookahead_ms": 40}
        log.warning("no articulator yet: package again with --articulator")
    (out / "LICENSE").write_text((Path(__file__).parent / "face" / "ICT-LICENSE.txt").read_text())
    (out / "NOTICE").write_text(NOTICE.format(title=look.title))
    described = manifest(out, look, facts)
    (out / "manifest.json").write_text(json.dumps(described, indent=1) + "\n")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    log.info("packaged", out=str(out), files=len(described["files"]), megabytes=round(size / 1e6, 2))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--look", default="default", choices=sorted(LOOKS))
    parser.add_argument("--renders", type=Path, help="what models.training.face.render wrote")
    parser.add_argument("--painter", type=Path, help="what models.training.painter exported")
    parser.add_argument("--articulator", type=Path, help="the .onnx, with its .json beside it")
    parser.add_argument("--quality", type=int, default=87, help="of the frames' JPEG")
    args = parser.parse_args()
    package(
        args.renders,
        args.painter,
        args.out,
        LOOKS[args.look],
        articulator=args.articulator,
        quality=args.quality,
    )


if __name__ == "__main__":
    main()
