"""The speakers that clients can choose from."""

import sys
from collections.abc import Mapping
from typing import Final

import structlog

from models.speaker import Speaker, SpeakerError, list_speakers
from pipeline.protocol.errors import ErrorCode, ProtocolError
from pipeline.runtime import StageContext
from stages.clients.doors import Allowance
from stages.speakers import speakers_dir

_LOOKS_PER_S: Final = 2  # into the speakers' folder, whoever asks

log = structlog.get_logger()


class Catalogue:
    """What is installed; what was installed since, once somebody asks for it. Ends the process where nothing can be
    read at the start."""

    def __init__(self, context: StageContext) -> None:
        self._folder = speakers_dir(context)
        self._default = context.config.pipeline.speaker
        self._looks = Allowance(_LOOKS_PER_S)
        try:
            self._speakers = {speaker.name: speaker for speaker in list_speakers(self._folder)}
        except SpeakerError as error:
            sys.exit(str(error))

    @property
    def all(self) -> Mapping[str, Speaker]:
        """By name."""
        return self._speakers

    def __getitem__(self, name: str) -> Speaker:
        return self._speakers[name]

    def name(self, wanted: str | None, frame_id: int = 0) -> str:
        """Of the speaker that is meant.

        Raises:
            ProtocolError: there is none of this name; names those that are, and the request by its ``frame_id``.
        """
        name = wanted or self._default
        if name not in self._speakers:
            self.look_again()
        if name not in self._speakers:
            known = ", ".join(self._speakers)
            raise ProtocolError(ErrorCode.UNKNOWN_SPEAKER, f"no speaker {name[:40]!r}; installed: {known}", frame_id)
        return name

    def name_of_one_that_hears(self, wanted: str | None) -> str:
        """As `name`, of one that can be spoken through live.

        Raises:
            ProtocolError: as `name`, or it hears nothing.
        """
        name = self.name(wanted)
        if self._speakers[name].manifest.articulator is None:
            raise ProtocolError(ErrorCode.INVALID_REQUEST, f"{name} hears no live sound, only its own features")
        return name

    def look_again(self) -> None:
        """Speakers may have been installed since; those that are gone speak on from memory while they are in it."""
        if not self._looks.take():
            return
        try:
            found = list_speakers(self._folder)
        except SpeakerError as error:
            log.warning("a speaker cannot be read", reason=str(error))
            return
        self._speakers |= {speaker.name: speaker for speaker in found}
