"""The engine in a process of its own: `EnginePool`, a socket, `DeviceThread`.

Jobs and their audio go one way; pictures come back through memory that both processes map. Times
are those of the machine's monotonic clock, which all its processes share.
"""
