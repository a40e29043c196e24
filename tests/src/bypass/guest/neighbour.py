"""Requests, one after the other, until standard input ends; each one's duration in seconds, or why it failed."""

import http.client
import select
import sys
import time

while not select.select([sys.stdin], [], [], 0.2)[0]:
    begun = time.monotonic()
    try:
        connection = http.client.HTTPSConnection("api.thaw.example", timeout=60)
        connection.request("GET", "/neighbour")
        status = connection.getresponse().status
        print(time.monotonic() - begun if status == 200 else f"HTTP {status}", flush=True)
        connection.close()
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
