"""Examines what is installed, reachable and missing on this machine, with remedies."""
