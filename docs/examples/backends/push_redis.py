#!/usr/bin/env python3
"""A message to a user through Redis, over a bare socket: the protocol is a page of code.

    push_redis.py USER TEXT      REDIS_HOST (default localhost), REDIS_PORT (6379)

With the package `redis` installed it is r.publish(...) and r.fcall(...) instead.
"""
import json
import os
import socket
import sys
import uuid


class Redis:
    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), timeout=10)
        self.input = self.socket.makefile("rb")

    def call(self, *words):
        """Sends one command, returns its answer: int, str, bytes, None or a list of those."""
        parts = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        return self._answer()

    def _answer(self):
        line = self.input.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b"+":
            return rest.decode()
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return self.input.read(int(rest) + 2)[:-2] if int(rest) >= 0 else None
        return [self._answer() for _ in range(int(rest))]  # b"*"


if __name__ == "__main__":
    user, text = sys.argv[1:]
    redis = Redis(os.environ.get("REDIS_HOST", "localhost"), int(os.environ.get("REDIS_PORT", "6379")))
    # Live, to whoever is there now.
    redis.call("PUBLISH", f"crier:user:{user}", json.dumps({"data": {"typing": True}, "event": "hint", "ttl": 0}))
    # Stored first, then pushed; may be repeated with the same id, and is stored once.
    seq, nodes, again = redis.call("FCALL", "crier_user", 0, user, json.dumps({"data": {"text": text}}), 86400, uuid.uuid4())
    print(json.dumps({"seq": seq, "nodes": nodes, "duplicate": bool(again)}))
