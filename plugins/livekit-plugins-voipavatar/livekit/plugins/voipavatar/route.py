"""Routes the agent's speech through its avatar or straight into the room."""

from __future__ import annotations

from livekit import rtc

from .output import PlainOutput, VoiceOutput
from .presence import Presence
from .sink import AvatarOutput


class Route:
    """The agent's speech in one room, for successive avatars of one identity.

    At first it waits for an avatar. Speech is then held back until `through_avatar` or `plainly`,
    so that it is always clear who speaks it.
    """

    def __init__(self, room: rtc.Room, identity: str, voice: VoiceOutput | None = None) -> None:
        """`voice`: taken over from an earlier route, if the agent's output ends with it."""
        self._room = room
        self._identity = identity
        self._plain: PlainOutput | None = None
        self.sink = AvatarOutput(room, identity)
        self.voice = voice or VoiceOutput(self.sink)
        self.voice.switch(self.sink)

    def plainly(self, *, deaf: bool) -> None:
        """Speak straight into the room from now on, including speech that waits for the avatar.

        The avatar is told to stop unless it is `deaf`.
        """
        if self._plain is None:
            self._plain = PlainOutput(self._room)
        self.sink.hand_over(self._plain, deaf=deaf)
        self.voice.switch(self._plain)

    async def prepare_next(self) -> None:
        """Prepare for a newly requested avatar; until it joins, the routing stays."""
        await self.sink.aclose()
        self.sink = AvatarOutput(self._room, self._identity)

    async def through_avatar(self, presence: Presence) -> None:
        """Speak through the avatar from the next pause on, waiting for it if it is away then.

        Changes nothing if the avatar is lost by then.
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
        """Close, because the agent now uses another route."""
        if self._plain is not None:
            await self._plain.aclose()
