"""The engine in a process of its own: `EnginePool`, a socket, `DeviceThread`.

Jobs and the sound they need go one way, pictures the other, through memory that both processes
map. Moments are of the machine's monotonic clock, which its processes share.
"""
