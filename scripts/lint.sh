#!/bin/sh
# Check the style, the types and the direction of imports; people and CI run this one.
#   scripts/in_venv.sh scripts/lint.sh          what is wrong
#   scripts/in_venv.sh scripts/lint.sh --fix    the same, after mending what ruff can mend
set -eu
cd "$(dirname "$0")/.."

if [ "${1-}" = --fix ]; then
    ruff check --quiet --fix . || true # what is left is told below
    ruff format .
fi
ruff check .
ruff format --check .
mypy
lint-imports
