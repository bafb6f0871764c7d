#!/bin/sh
# Prints the path of a livekit-server, building one with Go where none is found (about 2 minutes).
# A build is kept outside the clone, too, so that the next clone needs none.
# --look builds nothing, and exits with 1 where there is none yet.
set -eu

version=v1.13.5
root=$(cd "$(dirname "$0")/.." && pwd)
tools="$root/.tools/bin"
. "$root/scripts/cache.sh"

for found in "$(command -v livekit-server || true)" "$tools/livekit-server" "$(cached livekit-server)"; do
  if [ -n "$found" ] && [ -x "$found" ]; then
    echo "$found"
    exit 0
  fi
done
if command -v go >/dev/null; then
  [ "${1:-}" != --look ] || exit 1
  echo "Building livekit-server $version with Go; this happens once." >&2
  mkdir -p "$tools"
  if GOBIN="$tools" go install "github.com/livekit/livekit-server/cmd/server@$version" >&2; then
    mv "$tools/server" "$tools/livekit-server"
    keep_in_cache "$tools/livekit-server" livekit-server
    echo "$tools/livekit-server"
    exit 0
  fi
fi

if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
  echo "$root/scripts/livekit-container.sh"
  exit 0
fi

[ "${1:-}" != --look ] || exit 1
cat >&2 <<END
No livekit-server was found, and none could be made. Any one of these is enough:
  1. the binary on your PATH: https://docs.livekit.io/home/self-hosting/local/
  2. Go 1.21 or later on your PATH (then this builds livekit-server $version by itself)
  3. a running Docker (then the image livekit/livekit-server:$version is used)
END
exit 1
