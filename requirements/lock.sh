#!/bin/sh
# Re-makes the hashed lock files, one a set of extras. Needs uv. No registry's host ends up in them.
set -eu
cd "$(dirname "$0")/.."
lock() { # lock FILE [uv options…]
  out=$1; shift
  uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-header --extra build "$@" pyproject.toml -o "requirements/$out.txt"
}
lock dev --extra dev --extra bench --extra otel
lock base -c requirements/dev.txt
lock otel --extra otel -c requirements/dev.txt
# The networks' libraries, and what builds TensorRT plans without a GPU; for the whole test suite.
lock models --extra models --extra tensorrt-rtx -c requirements/dev.txt
# uv itself, for machines that have none.
echo uv | uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header \
  --no-annotate - -o requirements/uv.txt
# What the real agents package and its plugins need, in an environment of their own.
uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-header requirements/agents.in -o requirements/agents.txt
