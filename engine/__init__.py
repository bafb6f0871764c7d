"""Turns speech into faces for every session at once. Knows pictures; no rooms, SQL or HTTP."""

from engine.core.cores import limit_libraries

limit_libraries()  # before numpy, OpenCV and torch are imported, which read their settings then
