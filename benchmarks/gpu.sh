#!/bin/sh
# benchmarks/gpu.py on a bare machine: Python with torch and torchvision, and no package index.
#   benchmarks/gpu.sh [flags of gpu.py]
# What else the project needs is installed from the wheels in benchmarks/wheels (WHEELS names
# another folder) into benchmarks/.packages, once; nothing outside this folder is changed.
# docs/gpu.md says how to gather the wheels. PYTHON chooses the interpreter (default: python3).
set -eu
cd "$(dirname "$0")"
python=${PYTHON:-python3}
wheels=${WHEELS:-wheels}
packages=$PWD/.packages

# Packages whose module isn't there: "import name=package".
missing() {
    PYTHONPATH="$packages${PYTHONPATH:+:$PYTHONPATH}" "$python" -c '
import sys
from importlib.util import find_spec
pairs = (pair.split("=") for pair in sys.argv[1:])
print(*(package for module, package in pairs if find_spec(module) is None))
' constriction=constriction filelock=filelock hotcoco=hotcoco numpy=numpy PIL=pillow \
        pycocotools=pycocotools yaml=pyyaml safetensors=safetensors tabulate=tabulate torch=torch torchvision=torchvision \
        tqdm=tqdm yacs=yacs
}

wanted=$(missing)
case " $wanted " in
*" torch "* | *" torchvision "*)
    echo "error: $python has no $wanted; PYTHON=… names one with torch and torchvision" >&2
    exit 2
    ;;
esac
if [ -n "$wanted" ]; then
    echo "installing $wanted from $wheels" >&2
    # Without dependencies: all that is missing is named, and torch's are not to be touched.
    # shellcheck disable=SC2086  # several packages
    if ! "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps \
        --find-links "$wheels" --target "$packages" $wanted >&2; then
        echo "error: no wheels for $wanted in $wheels; docs/gpu.md says how to gather them" >&2
        exit 2
    fi
fi
PYTHONPATH="$packages${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH
exec "$python" gpu.py "$@"
