"""``python -m models.train``: the voice (:mod:`models.training.__main__`), or with ``from-video`` first, a face of your
own (:mod:`models.training.video.command`)."""

import sys

from pipeline.extras import needs


def main(arguments: list[str]) -> int:
    """Hand over to the one or the other; each imports PyTorch, and only what it needs."""
    if arguments[:1] == ["from-video"]:
        with needs("train", "video"):
            from models.training.video.command import main as from_video

        return from_video(arguments[1:])
    with needs("train"):
        from models.training.__main__ import main as voice

    return voice(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
