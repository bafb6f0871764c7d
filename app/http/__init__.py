"""Connections and requests, before any route sees them."""
