"""LiveKit's names, tokens and refusals, and what we use of its package."""
