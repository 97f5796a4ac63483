#!/bin/sh
# Evaluate every combination of clean and damaged levels, 32 a ratio, in each scope.
#   scripts/run_sweep.sh                                     the demo, in one pass
#   scripts/run_sweep.sh --loop                              the same, one train_net.py a setting
#   RATIOS="2 4 8" SCOPES=pyramid scripts/run_sweep.sh --config-file FILE --results-dir DIR …
# The arguments go to tools/sweep.py, or with --loop to tools/train_net.py; both write the same
# files. --loop is the reference, and slow. The grid is the loops below: change them to your own.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
scopes=${SCOPES:-rpn pyramid}

settings() {
    echo "1 1 1 1 1"
    for r in ${RATIOS:-8}; do
        for p2 in 1 "$r"; do
            for p3 in 1 "$r"; do
                for p4 in 1 "$r"; do
                    for p5 in 1 "$r"; do
                        for p6 in 1 "$r"; do
                            case "$p2$p3$p4$p5$p6" in
                                11111) ;; # written above, once
                                *) echo "$p2 $p3 $p4 $p5 $p6" ;;
                            esac
                        done
                    done
                done
            done
        done
    done
}

if [ "${1-}" = --loop ]; then
    shift
    settings | while read -r cr; do
        for scope in $scopes; do
            echo "scope $scope, ratios $cr" >&2
            # shellcheck disable=SC2086 # the ratios are five words
            python "$root/tools/train_net.py" --scope "$scope" --cr $cr "$@" </dev/null
        done
    done
else
    list=$(mktemp)
    trap 'rm -f "$list"' EXIT
    settings >"$list"
    # shellcheck disable=SC2086 # the scopes are words
    python "$root/tools/sweep.py" --cr-list "$list" --scope $scopes "$@"
fi
