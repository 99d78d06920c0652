#!/bin/sh
# Everything that is checked about this application. Needs rebar3 and OTP with dialyzer:
#   docker run --rm --network none -v "$PWD:/src:ro" BUILDER sh /src/test.sh
# Works on a copy, so that the sources may be mounted read-only; BUILD_DIR may name a
# directory that keeps the dialyzer table from one run to the next.
set -e
src=$(cd "$(dirname "$0")" && pwd -P)
work=$(mktemp -d)
build=${BUILD_DIR:-$work/_build}
trap 'rm -rf "$work"' EXIT
for part in rebar.config config rel src test; do cp -r "$src/$part" "$work/"; done
cd "$work"
export REBAR_BASE_DIR="$build"

rebar3 xref
rebar3 dialyzer
rebar3 eunit
rebar3 ct --readable=compact "$@" || {
    status=$?
    find "$build" -name suite.log | sort | tail -n 1 | xargs -r tail -n 80
    exit $status
}
