#!/bin/sh
# Prints the path of the benchmarks' people (tools/people), building them with Go if need be.
# VOIPAVATAR_PEOPLE names a binary that is to be used as it is. A build is kept outside the clone,
# too, under a hash of its source. Exits with 1 where there is neither a build nor Go.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
if [ -n "${VOIPAVATAR_PEOPLE:-}" ]; then
  echo "$VOIPAVATAR_PEOPLE"
  exit 0
fi

source="$root/tools/people"
hash=$(cd "$source" && cat ./*.go go.mod | cksum | cut -d' ' -f1)
. "$root/scripts/cache.sh"
for kept in "$root/.tools/bin/people-$hash" "$(cached "people-$hash")"; do
  if [ -n "$kept" ] && [ -x "$kept" ]; then
    echo "$kept"
    exit 0
  fi
done

if ! command -v go >/dev/null; then
  echo "Go is not there, so the people of the benchmark cannot be built." >&2
  exit 1
fi
echo "Building the people of the benchmark with Go; this happens once." >&2
built="$root/.tools/bin/people-$hash"
mkdir -p "$root/.tools/bin"
# Without cgo and symbols it is one file of 21 MB that runs on any Linux of this architecture.
(cd "$source" && CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o "$built.$$" . >&2)
mv "$built.$$" "$built"
keep_in_cache "$built" "people-$hash"
echo "$built"
