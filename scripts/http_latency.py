#!/usr/bin/env python3
"""How long a small answer takes on a kept connection: scripts/http_latency.py [URL] [COUNT]."""

import http.client
import statistics
import sys
import time
from urllib.parse import urlsplit


def main(url: str = "http://127.0.0.1:8080/health", count: str = "500") -> None:
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port)
    took = []
    for _ in range(int(count)):
        began = time.perf_counter()
        connection.request("GET", parts.path or "/")
        connection.getresponse().read()
        took.append((time.perf_counter() - began) * 1000)
    p95 = statistics.quantiles(took, n=20)[-1]
    print(
        f"{parts.path}: p50 {statistics.median(took):.2f} ms, p95 {p95:.2f} ms of {count} requests"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
