"""What is installed, reachable and missing on this machine, and how to mend it."""
