"""Turns speech into faces for every session at once. Knows pictures; no rooms, SQL or HTTP."""
