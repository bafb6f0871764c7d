"""A session that kept every limit."""

from bench.rooms.rooms import Room

GOOD = Room(
    received_fps=25.0,
    longest_gap_ms=60.0,
    gaps={"60": 0, "100": 0, "200": 0},
    sound_lost=0.0,
    kbit_s=600.0,
    av_p50_ms=2.0,
    av_p95_ms=9.0,
    sent_fps=25.0,
    lateness_p50_ms=1.0,
    lateness_p95_ms=3.0,
    lateness_p99_ms=6.0,
    repeated=0,
    dropped=0,
    turns=[],
    interrupts=[],
    unfinished=0,
    over=[25.0] * 20,
    gap_over=[45.0] * 20,
)
