"""Which way the agent's speech takes: through its avatar, or straight into the room."""

from __future__ import annotations

from livekit import rtc

from .output import PlainOutput, VoiceOutput
from .presence import Presence
from .sink import AvatarOutput


class Route:
    """The agent's speech in one room, for one avatar after another of one identity.

    It begins with waiting for an avatar; what is said then is held back until `through_avatar` or
    `plainly`, so that it is never unknown who says it.
    """

    def __init__(self, room: rtc.Room, identity: str, voice: VoiceOutput | None = None) -> None:
        """`voice`: that of a route before this one, which the agent's output ends with."""
        self._room = room
        self._identity = identity
        self._plain: PlainOutput | None = None
        self.sink = AvatarOutput(room, identity)
        self.voice = voice or VoiceOutput(self.sink)
        self.voice.switch(self.sink)

    def plainly(self, *, deaf: bool) -> None:
        """Speak into the room from now on; whatever waits for the avatar goes there, too.

        One that is not `deaf` is told to fall silent.
        """
        if self._plain is None:
            self._plain = PlainOutput(self._room)
        self.sink.hand_over(self._plain, deaf=deaf)
        self.voice.switch(self._plain)

    async def another(self) -> None:
        """Another avatar has been asked for; until it is there, all stays as it is."""
        await self.sink.aclose()
        self.sink = AvatarOutput(self._room, self._identity)

    async def through_avatar(self, presence: Presence) -> None:
        """Speak through the avatar from the next pause on; wait for it if it is away by then.

        All stays as it is if it is lost by then.
        """
        plain = self._plain
        if plain is not None:
            while not plain.idle:
                await plain.wait_for_playout()  # not in mid-sentence
            if presence.lost:
                return
            self.voice.switch(self.sink)
        if not presence.away:
            self.sink.open()
        if plain is not None:
            self._plain = None
            await plain.aclose()

    async def retire(self) -> None:
        """The agent speaks by another route now."""
        if self._plain is not None:
            await self._plain.aclose()
