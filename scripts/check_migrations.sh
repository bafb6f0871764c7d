#!/bin/sh
# The migrations lead from nothing to exactly the models of app/db, tried on a throw-away SQLite file.
set -eu
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export VOIPAVATAR_DATABASE_URL="sqlite:///$folder/check.db"
.venv/bin/alembic upgrade head
.venv/bin/alembic check
