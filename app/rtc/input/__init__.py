"""The sources of a session's speech: a microphone, or an agent's stream."""
