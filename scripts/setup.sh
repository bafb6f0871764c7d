#!/bin/sh
# Fills .venv from hashed lock files: scripts/setup.sh dev [models …]. Quick when nothing changed.
# PYTHON=… chooses the interpreter; uv is used when it can be had, else pip.
# VENV=… and PROJECT=… make another environment, around another project of this repository.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)
venv=${VENV:-.venv}
project=${PROJECT:-.}

# The machine's own certificates, as pip trusts them: behind a proxy that inspects, only they fit.
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}" UV_NATIVE_TLS="${UV_NATIVE_TLS:-1}" # new, old name

die() { echo "setup: $*" >&2; exit 1; }

find_python() {
  for name in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  die "Python 3.11 or newer is needed: apt-get install python3, or make setup PYTHON=/path/to/python3."
}

make_venv() { # make_venv DIR: with the pip that Debian keeps in a package of its own
  "$python" -m venv "$1" >/dev/null 2>&1 ||
    die "$python cannot make an environment: apt-get install python3-venv, then try again."
}

find_uv() {
  if command -v uv; then return; fi
  if [ ! -x .tools/uv/bin/uv ]; then
    make_venv .tools/uv
    .tools/uv/bin/pip install -q --require-hashes -r requirements/uv.txt >&2 || {
      echo "setup: uv cannot be had here; going on with pip, which is slower." >&2
      return
    }
  fi
  echo "$root/.tools/uv/bin/uv"
}

install() { # install PIP-INSTALL-ARGUMENTS…
  if [ -n "$uv" ]; then
    "$uv" pip install -q --python "$venv/bin/python" "$@"
  else
    "$venv/bin/python" -m pip install -q "$@"
  fi
}

python=$(find_python)

# An environment holds absolute paths: one that was moved, or whose Python went away, is made again.
if [ -d "$venv" ]; then
  "$venv/bin/python" -c '' 2>/dev/null && grep -qF "$root/$venv" "$venv/bin/activate" ||
    rm -rf "$venv"
fi

for lock in "$@"; do
  file=requirements/$lock.txt
  [ -f "$file" ] || die "$file is missing: this checkout has no lock of that name."
  stamp=$venv/.installed-$lock
  want=$(cat "$file" "$project/pyproject.toml" | cksum)
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && continue
  if [ -z "${uv+set}" ]; then
    uv=$(find_uv)
    if [ ! -d "$venv" ]; then
      if [ -n "$uv" ]; then "$uv" venv -q --python "$python" "$venv"; else make_venv "$venv"; fi
    fi
  fi
  echo "Installing $file into $venv …"
  install --require-hashes -r "$file"
  # hatchling is in every lock, so that nothing unhashed is fetched to build the project itself.
  install --no-deps --no-build-isolation -e "$project"
  echo "$want" >"$stamp"
done
