"""Reads and writes media files, including untrusted ones."""
