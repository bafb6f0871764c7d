"""Decides which audio of an end-to-end encrypted room may be listened to.

Encrypted audio decoded without the key is loud noise. With a key, LiveKit's library decodes the
first packets of a track before it decrypts, which gives some 100 ms of noise. Once it has decrypted
one packet, it reports that for the participant and delivers silence for what it cannot decrypt.
"""

from __future__ import annotations

from livekit import rtc

UNSURE_FRAMES = 3  # of 40 ms: the decoder fades out what came before the first decrypted packet


def is_sealed(publication: rtc.TrackPublication) -> bool:
    return publication.encryption_type != rtc.EncryptionType.NONE


def unsure_frames(room: rtc.Room) -> int:
    """How many frames to skip at the start of a track."""
    return UNSURE_FRAMES if room.e2ee_manager.enabled else 0


def can_be_decoded(room: rtc.Room, publication: rtc.TrackPublication) -> bool:
    if not is_sealed(publication):
        return True
    return room.e2ee_manager.enabled and publication.encryption_type == rtc.EncryptionType.GCM


class Decrypted:
    """The participants of a room whose encryption the key is known to open."""

    def __init__(self, room: rtc.Room) -> None:
        self._identities: set[str] = set()
        room.on("e2ee_state_changed", self._changed)
        room.on("participant_disconnected", lambda who: self._identities.discard(who.identity))

    def track_of(
        self, who: rtc.RemoteParticipant, voice: rtc.RemoteTrackPublication | None
    ) -> rtc.Track | None:
        """The microphone's track, once it may be listened to."""
        if voice is None or (is_sealed(voice) and who.identity not in self._identities):
            return None
        return voice.track

    def _changed(self, who: rtc.Participant | None, state: rtc.EncryptionState.ValueType) -> None:
        if who is None:
            return
        if state == rtc.EncryptionState.OK:
            self._identities.add(who.identity)
        elif state != rtc.EncryptionState.KEY_RATCHETED:
            self._identities.discard(who.identity)
