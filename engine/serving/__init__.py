"""The pool: streams, scheduling, and the thread that owns a device."""
