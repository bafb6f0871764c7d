"""This installation against vectors that the reference implementation made.

The functions compared are those that serve and prepare; nothing is written anew here. What a
vector holds: README.md beside the vectors.
"""
