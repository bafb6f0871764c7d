"""The process itself, apart from any request or session."""
