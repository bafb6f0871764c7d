"""Media files: opened with care, read and written."""
