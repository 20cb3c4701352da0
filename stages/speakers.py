"""How the stages find the speaker that a window names."""

import sys
from pathlib import Path

import structlog

from models.speaker import SPEAKERS_DIR, Speaker, SpeakerError, list_speakers, open_speaker
from pipeline.runtime import StageContext

log = structlog.get_logger()


def speakers_dir(context: StageContext) -> Path:
    """Where this instance's speakers are installed."""
    configured = context.config.pipeline.speakers_dir
    return Path(configured) if configured else SPEAKERS_DIR


def open_named(context: StageContext, name: str) -> Speaker:
    """For a stage to load.

    Raises:
        SpeakerError: it is not there or damaged.
    """
    return open_speaker(name, speakers_dir(context))


def open_installed(context: StageContext) -> list[Speaker]:
    """Every installed speaker that is whole, the default one first; loaded at start, so that no user waits for it.

    Ends the process, with the reason, where the default one is missing or damaged; another that is damaged is logged
    and answered with an error when somebody asks for it.
    """
    folder = speakers_dir(context)
    default = context.config.pipeline.speaker
    try:
        opened = [open_speaker(default, folder)]
        others = [speaker.name for speaker in list_speakers(folder) if speaker.name != default]
    except SpeakerError as error:
        sys.exit(str(error))
    for name in others:
        try:
            opened.append(open_speaker(name, folder))
        except SpeakerError as error:
            log.error("speaker left out", speaker=name, reason=str(error))
    return opened
