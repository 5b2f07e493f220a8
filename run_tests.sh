#!/usr/bin/env bash
# Runs the tests. It sets up a virtual environment if packages are missing.
#
#   ./run_tests.sh           the fast tests
#   ./run_tests.sh --all     all tests
#   ./run_tests.sh ARGS...   pytest with these arguments
[ -n "${BASH_VERSION:-}" ] || { echo "run it with bash: bash run_tests.sh" >&2; exit 2; }
set -euo pipefail
cd "$(dirname "$0")"
source tools/python_env.sh
choose_python "$TEST_MODULES" requirements.txt requirements-dev.txt
case ${1:-} in
    '') set -- -n 2 -m "not slow" ;;
    --all) shift; set -- -n 2 "$@" ;;
esac
exec "$PYTHON" -m pytest "$@"
