"""What belongs to the process itself rather than to any request or session."""
