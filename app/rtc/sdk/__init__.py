"""LiveKit's names, tokens and refusals, and all private uses of its package."""
