"""What happens to a connection and a request before any route sees it."""
