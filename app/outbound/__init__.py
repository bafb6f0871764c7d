"""Outgoing connections: where they may lead, and how much of an answer is read."""
