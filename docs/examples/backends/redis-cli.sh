#!/bin/sh
# The ways in through Redis, with redis-cli alone.
#
#   redis-cli.sh USER TEXT        REDIS_URL (default redis://localhost:6379); the broker runs with --redis on the same
set -eu
redis() { redis-cli -e -u "${REDIS_URL:-redis://localhost:6379}" "$@"; }

# A payload that is neither JSON nor an envelope is text. `-x` takes it from standard input, so nothing has to be escaped.
printf '%s' "$2" | redis -x publish "crier:user:$1"

# An envelope: a JSON object with `data` and nothing that an envelope does not know. This one is for who is connected now.
redis publish "crier:user:$1" '{"data":{"kind":"typing"},"event":"hint","ttl":0}'

# PUBLISH is forgotten when nobody listens. This is not: stored in one step, for an hour, and once however often it is
# called with this id. It answers the message's seq, the number of nodes that have it at once, and 1 for a repetition.
redis fcall crier_user 0 "$1" '{"data":{"kind":"invoice","number":7}}' 3600 invoice-7

# Rooms and everybody: who is there now.
redis publish crier:room:news '{"data":"to the room","priority":"low"}'
redis publish crier:all '"to everybody"'
