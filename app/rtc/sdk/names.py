"""Names on the wire."""

VIDEO_TRACK = "avatar-video"
AUDIO_TRACK = "avatar-audio"
AVATAR_TRACKS = frozenset({VIDEO_TRACK, AUDIO_TRACK, "avatar_video", "avatar_audio"})

PUBLISH_ON_BEHALF = "lk.publish_on_behalf"  # whose voice an avatar is: livekit.md §1.2
SESSION_ATTRIBUTE = "voipavatar.session"  # stamped on avatars of ours: the session's id
AVATAR_ATTRIBUTES = frozenset({PUBLISH_ON_BEHALF, SESSION_ATTRIBUTE})
