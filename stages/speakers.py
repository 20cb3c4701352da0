"""How the stages find the speaker that a window names."""

from pathlib import Path

from models.speaker import SPEAKERS_DIR, Speaker, SpeakerError, open_speaker
from pipeline.messages import Route
from pipeline.protocol.errors import ErrorCode
from pipeline.runtime import StageContext, StageError


def speakers_dir(context: StageContext) -> Path:
    """Where this instance's speakers are installed."""
    configured = context.config.pipeline.speakers_dir
    return Path(configured) if configured else SPEAKERS_DIR


def open_for(context: StageContext, route: Route) -> Speaker:
    """The speaker that a window names, for a stage to load.

    Raises:
        StageError: it is not there or damaged.
    """
    try:
        return open_speaker(route.speaker, speakers_dir(context))
    except SpeakerError as error:
        raise StageError(ErrorCode.UNKNOWN_SPEAKER, str(error)) from error
