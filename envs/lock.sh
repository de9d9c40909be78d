#!/usr/bin/env bash
# Resolve requirements*.in in a clean environment and write the lock files beside them.
# Usage: envs/lock.sh [PYTHON]     Takes some minutes and downloads everything once.
set -euo pipefail
cd "$(dirname "$0")"
python=${1:-python3.11}
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT

# A build tag such as +cpu belongs to the machine that resolved, not to the lock.
pins() { "$room/bin/pip" freeze --all | grep -v '^pip==' | sed -E 's/\+[a-z0-9.]+$//' | LC_ALL=C sort -f; }
header() { printf '# Written by `make lock` from %s; do not edit. Python 3.11.\n' "$1"; }

"$python" -m venv "$room"
"$room/bin/pip" install --quiet --upgrade -r requirements.in
pins >"$room/runtime"
"$room/bin/pip" install --quiet -r requirements-test.in --constraint "$room/runtime"
"$room/bin/pip" check
pins >"$room/all"
{ header requirements.in; cat "$room/runtime"; } >requirements.lock
{ header requirements-test.in; LC_ALL=C comm -13 <(LC_ALL=C sort "$room/runtime") <(LC_ALL=C sort "$room/all") | LC_ALL=C sort -f; } >requirements-test.lock
