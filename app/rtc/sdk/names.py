"""Track names and attributes in LiveKit."""

VIDEO_TRACK = "avatar-video"
AUDIO_TRACK = "avatar-audio"
AVATAR_TRACKS = frozenset({VIDEO_TRACK, AUDIO_TRACK, "avatar_video", "avatar_audio"})

PUBLISH_ON_BEHALF = "lk.publish_on_behalf"  # the agent an avatar speaks for: livekit.md §1.2
SESSION_ATTRIBUTE = "voipavatar.session"  # the session's id, on the service's avatars
AVATAR_ATTRIBUTES = frozenset({PUBLISH_ON_BEHALF, SESSION_ATTRIBUTE})
