# Sourced by run_all.sh, run_tests.sh and .ci/run. choose_python "MODULES" REQUIREMENTS_FILE...
# sets PYTHON to a Python that can import the modules: the active one, or else that of the virtual
# environment .venv, which it makes if necessary.

TEST_MODULES="torch tqdm numpy pytest xdist hypothesis matplotlib"

# Imports the modules, and checks that torch is 2.6 or later and works with this numpy.
IMPORT_THEM='
import importlib, sys
for name in sys.argv[1].split():
    importlib.import_module(name)
import numpy, torch
torch.from_numpy(numpy.zeros(1))
assert tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 6)
'

can_import() {  # PYTHON_COMMAND MODULES
    "$1" -c "$IMPORT_THEM" "$2" >/dev/null 2>&1
}

choose_python() {
    local modules=$1 venv=$PWD/.venv candidate file
    shift
    # On Windows (Git Bash) a virtual environment has its Python in Scripts.
    for candidate in "${PYTHON:-python3}" python "$venv/bin/python" "$venv/Scripts/python.exe"; do
        if can_import "$candidate" "$modules"; then PYTHON=$candidate; return; fi
    done
    for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python; do
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && break
        candidate=
    done
    if [ -z "$candidate" ]; then
        echo "error: no Python 3.11 or later is on the PATH" >&2
        exit 2
    fi
    echo "Setting up the virtual environment $venv with $("$candidate" --version) (some minutes)"
    if ! "$candidate" -m venv "$venv"; then
        echo "error: 'python3 -m venv' fails; on Debian and Ubuntu: apt install python3-venv" >&2
        exit 2
    fi
    PYTHON=$venv/bin/python
    [ -x "$PYTHON" ] || PYTHON=$venv/Scripts/python.exe
    for file in "$@"; do
        if ! "$PYTHON" -m pip install --quiet --disable-pip-version-check -r "$file"; then
            echo "error: cannot install the packages of $file (see above; is there a network?)" >&2
            exit 2
        fi
    done
    if ! can_import "$PYTHON" "$modules"; then
        echo "error: the new environment $venv cannot import one of: $modules" >&2
        exit 2
    fi
}
