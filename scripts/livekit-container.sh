#!/bin/sh
# livekit-server out of its container, for machines with Docker and without Go; on the host's
# network, since media takes UDP ports of its own. Docker passes the signal to stop on.
exec docker run --rm --init --network host --env LIVEKIT_CONFIG \
  livekit/livekit-server:v1.13.5 "$@"
