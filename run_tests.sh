#!/usr/bin/env bash
# Runs the tests, in a virtual environment that it sets up where pytest, torch … are missing. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")"
source tools/python_env.sh
choose_python "torch tqdm numpy pytest hypothesis matplotlib" requirements.txt requirements-dev.txt
exec "$PYTHON" -m pytest "${@:-tests}"
