"""MuseTalk's arithmetic around its networks, exact against the reference implementation.

Sections cited in these modules are those of the specification: §1 models and audio windows, §2
preparation, §3 blending, §5 streaming. `voipavatar parity` compares every module with vectors that
the reference code made.
"""
