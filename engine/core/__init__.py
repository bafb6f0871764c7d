"""Nouns, settings and errors that everything in the engine shares."""
