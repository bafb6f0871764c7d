"""Connections that the service opens to others: where they go, and how much is read."""
