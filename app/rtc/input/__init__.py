"""Where a session's speech comes from: a microphone, or an agent's stream."""
