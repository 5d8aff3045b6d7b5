#!/bin/sh
# A message to a user over HTTP, with curl alone.
#
#   push.sh USER TEXT        CRIER_URL (default http://localhost:8080), CRIER_KEY: an API key, unless the broker runs with --dev
#
# The body is JSON that this script makes from two arguments, so they have to be escaped: jq, where it is installed, does
# it in one word; the function below does it with sed.
set -eu
url=${CRIER_URL:-http://localhost:8080}

json_string() {
    printf '"%s"' "$(printf '%s' "$1" | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/	/\\t/g' -e '$!s/$/\\n/' | tr -d '\n')"
}

# An id of our own makes every repetition harmless: for ten minutes the same id to the same user is stored once.
id=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
body="{\"user\":$(json_string "$1"),\"data\":{\"text\":$(json_string "$2")},\"id\":\"$id\"}"

# --retry covers lost connections, 408, 429 and 5xx, and heeds Retry-After.
curl --silent --show-error --fail-with-body --retry 4 --retry-connrefused --max-time 10 \
    ${CRIER_KEY:+--header "Authorization: Bearer $CRIER_KEY"} \
    --header 'Content-Type: application/json' --data-binary "$body" "$url/api/push"
echo
