"""
tools/python_env.sh: which Python is chosen, and the environment that is made if none will do. The
Pythons are fakes, so nothing is installed.
"""

import os
import subprocess
import sys

import pytest

from conftest import ROOT
from shell import needs_bash, script

# A Python without packages. It makes a virtual environment in which pip writes "installed".
BARE_PYTHON = r"""
echo "$(basename "$0") $*" >> "$CALLS"
case "$*" in
    --version) echo "Python 3.99" ;;
    *importlib*) exit 1 ;;
    *version_info*) exit "${TOO_OLD:-0}" ;;
    "-m venv"*)
        [ -z "$NO_VENV" ] || exit 1
        mkdir -p "$3/bin"
        cp "$VENV_PYTHON" "$3/bin/python" ;;
    *) exit 9 ;;
esac
""".strip("\n")
VENV_PYTHON = r"""
echo "venv: $*" >> "$CALLS"
installed=$(dirname "$0")/installed
case "$*" in
    *importlib*) [ -e "$installed" ] && [ -z "$STILL_BROKEN" ] ;;
    "-m pip install"*)
        [ -z "$NO_NETWORK" ] || { echo "no network" >&2; exit 1; }
        touch "$installed" ;;
    *) exit 9 ;;
esac
""".strip("\n")


@pytest.fixture
def bare(tmp_path):
    """bare(**environment) chooses a Python where all on the PATH lack the packages."""
    for name in ("python3", "python", "python3.11", "python3.12", "python3.13"):
        script(tmp_path / "bin" / name, BARE_PYTHON)
    script(tmp_path / "venv python", VENV_PYTHON)
    (tmp_path / "project").mkdir()
    calls = tmp_path / "calls"
    code = f'set -euo pipefail; source "{ROOT}/tools/python_env.sh"; '
    code += 'choose_python "torch tqdm" a.txt b.txt; echo "chose $PYTHON"'

    def choose(**environment):
        calls.write_text("", encoding="utf-8")
        base = {name: value for name, value in os.environ.items() if name != "PYTHON"}
        base["PATH"] = f"{tmp_path / 'bin'}{os.pathsep}{base['PATH']}"
        base |= {"CALLS": str(calls), "VENV_PYTHON": str(tmp_path / "venv python")}
        done = subprocess.run(
            ["bash", "-c", code],
            cwd=tmp_path / "project",
            env=base | environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        done.calls = calls.read_text(encoding="utf-8").splitlines()
        return done

    choose.folder, choose.venv = tmp_path, tmp_path / "project" / ".venv"
    return choose


@needs_bash
def test_the_active_python_is_taken_if_it_has_the_modules(bare):
    good = script(bare.folder / "good python", 'echo "good $*" >> "$CALLS"')
    done = bare(PYTHON=str(good))
    assert (done.returncode, done.stdout) == (0, f"chose {good}\n")
    assert done.calls[-1].endswith(" torch tqdm") and not bare.venv.exists()


@needs_bash
@pytest.mark.parametrize("modules, found", [("json os", True), ("json no_such_module", False)])
def test_every_module_is_imported(modules, found):
    code = f'source "{ROOT}/tools/python_env.sh"; can_import "{sys.executable}" "{modules}"'
    assert (subprocess.run(["bash", "-c", code]).returncode == 0) == found


@needs_bash
def test_else_a_virtual_environment_is_made_once(bare):
    done = bare()
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == f"chose {bare.venv}/bin/python"
    installed = [line.split()[-2:] for line in done.calls if line.startswith("venv: -m pip")]
    assert installed == [["-r", "a.txt"], ["-r", "b.txt"]]
    again = bare()
    assert again.stdout == f"chose {bare.venv}/bin/python\n"
    assert not any("-m " in line for line in again.calls)


@needs_bash
@pytest.mark.parametrize(
    "fault, part",
    [("NO_NETWORK", "a.txt"), ("NO_VENV", "venv"), ("TOO_OLD", "3.11"), ("STILL_BROKEN", "torch")],
)
def test_an_environment_that_cannot_be_made_is_one_line(bare, fault, part):
    done = bare(**{fault: "1"})
    own = [line for line in done.stderr.splitlines() if line != "no network"]  # pip's line
    assert (done.returncode, len(own)) == (2, 1) and part in own[0] and "chose" not in done.stdout
    assert bare().returncode == 0  # the next call repairs it
