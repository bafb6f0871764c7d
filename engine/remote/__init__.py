"""The engine in a process of its own: `EnginePool` on one side of a socket, `Runner` on the other.

Jobs and the sound they need go one way, pictures the other, through memory that both processes
map. Moments are of the machine's monotonic clock, which its processes share.
"""
