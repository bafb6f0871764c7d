"""Turns speech into faces for every session at once. Knows pictures and audio; no rooms, SQL or HTTP."""
