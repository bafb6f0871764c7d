"""The routes, and what they ask for."""
