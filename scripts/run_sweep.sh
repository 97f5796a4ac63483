#!/bin/sh
# Evaluate clean, then each level alone at each ratio, then all levels at it, in each scope:
#   scripts/run_sweep.sh                                        the demo
#   RATIOS="2 4 8" SCOPES=pyramid scripts/run_sweep.sh --config-file FILE --results-dir DIR …
# The arguments go to tools/train_net.py, which runs once a setting and writes one JSON each.
# The grid is the loop below: change it to your own.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)

for scope in ${SCOPES:-rpn pyramid}; do
    for r in ${RATIOS:-8}; do
        for cr in "1 1 1 1 1" "$r 1 1 1 1" "1 $r 1 1 1" "1 1 $r 1 1" "1 1 1 $r 1" "1 1 1 1 $r" \
            "$r $r $r $r $r"; do
            echo "scope $scope, ratios $cr" >&2
            # shellcheck disable=SC2086 # the ratios are five words
            python "$root/tools/train_net.py" --scope "$scope" --cr $cr "$@"
        done
    done
done
