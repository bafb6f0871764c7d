"""The service split up: the API here, sessions in hosts, the engine in a process of its own."""
