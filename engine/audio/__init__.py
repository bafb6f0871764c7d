"""Audio in, network inputs out."""
