"""What a session plays and shows, and what it reports of it."""
