"""Sound on its way to the networks."""
