#!/usr/bin/env python3
"""A message to a user over HTTP; the standard library is enough.

    push_http.py USER TEXT      CRIER_URL (default http://localhost:8080), CRIER_KEY: an API key, unless with --dev
"""
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid

URL = os.environ.get("CRIER_URL", "http://localhost:8080") + "/api/push"


def push(user, data, id=None, attempts=5, **options):
    """Returns {"id", "seq", "online"} once the broker has stored the message. Raises when it will not take it."""
    body = {"user": user, "data": data, "id": id or str(uuid.uuid4()), **options}
    request = urllib.request.Request(URL, json.dumps(body).encode(), {"Content-Type": "application/json"})
    if os.environ.get("CRIER_KEY"):
        request.add_header("Authorization", "Bearer " + os.environ["CRIER_KEY"])
    for attempt in range(1, attempts + 1):
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)["results"][0]
        except urllib.error.HTTPError as e:
            error = json.load(e)["error"]
            if e.code not in (429, 503) or attempt == attempts:
                raise RuntimeError(f"{e.code} {error['code']}: {error['message']}") from None
            time.sleep(float(e.headers.get("Retry-After", 1)))
        except OSError:  # no answer: perhaps stored, perhaps not; with the same id asking again is safe
            if attempt == attempts:
                raise
            time.sleep(0.3 * attempt)


if __name__ == "__main__":
    print(json.dumps(push(sys.argv[1], {"text": sys.argv[2]}, event="note")))
