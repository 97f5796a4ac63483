#!/bin/sh
# Run a command in this project's own virtual environment, made and filled when it isn't there:
#   scripts/in_venv.sh python tools/train_net.py --cr 1 1 1 1 1 4
# PYTHON chooses the interpreter the environment is made with (default: python3).
set -eu
cd "$(dirname "$0")/.."
venv=.venv
stamp=$venv/.installed

if [ ! -e "$stamp" ] || [ setup.py -nt "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
    if ! "${PYTHON:-python3}" -m venv "$venv" >&2; then
        rm -rf "$venv"
        echo "error: ${PYTHON:-python3} can't make a virtual environment;" \
            "on Debian: apt-get install python3-venv" >&2
        exit 2
    fi
    echo "installing into $venv (torch is several GB, once)" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[test,dev]' >&2
    touch "$stamp"
fi
PATH="$PWD/$venv/bin:$PATH"
export PATH
exec "$@"
