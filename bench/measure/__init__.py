"""What a viewer saw and heard, turned into numbers. Pure: no LiveKit, no clock, no network."""
