"""The split service: the API in this process, sessions in workers, the engine in its own."""
