"""Tokens and connections of the participants that measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from livekit import api, rtc


@dataclass(frozen=True, slots=True)
class LiveKitAccess:
    """A LiveKit server and the key to make tokens for it."""

    url: str
    key: str
    secret: str

    def token(self, room: str, identity: str) -> str:
        """A token to join the room and publish in it, valid for an hour."""
        grants = api.VideoGrants(room_join=True, room=room)
        minted = (
            api.AccessToken(self.key, self.secret)
            .with_identity(identity)
            .with_ttl(timedelta(hours=1))
            .with_grants(grants)
        )
        return str(minted.to_jwt())

    async def participants(self, room: str) -> list[str]:
        """Identities in the room; empty if the room does not exist."""
        async with api.LiveKitAPI(self.url, self.key, self.secret) as server:
            answer = await server.room.list_participants(api.ListParticipantsRequest(room=room))
        return [str(participant.identity) for participant in answer.participants]


async def join(room: rtc.Room, access: LiveKitAccess, name: str, identity: str) -> None:
    """Connect, subscribed to nothing. Raises rtc.ConnectError."""
    options = rtc.RoomOptions(auto_subscribe=False, connect_timeout=30.0)
    await room.connect(access.url, access.token(name, identity), options)


async def join_avatar(
    room: rtc.Room,
    access: LiveKitAccess,
    name: str,
    identity: str,
    avatar: str,
    take: Callable[[rtc.RemoteTrack], None],
) -> None:
    """Connect, subscribed to what one participant publishes, now or when it comes.

    Args:
        avatar: whose tracks.
        take: gets each of them as it arrives.

    Raises rtc.ConnectError.
    """

    def published(
        publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        if participant.identity == avatar:
            publication.set_subscribed(True)

    room.on("track_published", published)
    room.on("track_subscribed", lambda track, *_: take(track))
    await join(room, access, name, identity)
    # Participants that joined before us cause no event (docs/reference/livekit.md §2.1).
    for participant in room.remote_participants.values():
        for publication in participant.track_publications.values():
            published(publication, participant)
