"""How run.py loads torch: an environment variable that OpenMP reads, and the garbage collector."""

import os
import subprocess
import sys

import pytest

from conftest import ROOT

PATH = str(ROOT / "src")
PROGRAM = f"""
import os, sys
class Finder:
    def find_spec(self, name, *_):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Finder())
sys.path.insert(0, {PATH!r})
import run
"""


@pytest.mark.parametrize(
    "given, expected",
    [({}, "1000"), ({"OMP_WAIT_POLICY": "active"}, "None"), ({"GOMP_SPINCOUNT": "7"}, "7")],
)
def test_run_sets_it_before_torch_is_loaded_unless_the_user_has(given, expected):
    ours = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment | given
    )
    assert done.stdout.strip() == expected, done.stderr


@pytest.mark.parametrize("collects", [True, False])
def test_the_garbage_collector_leaves_torch_alone_and_is_as_the_caller_had_it(collects):
    program = f"""
import gc, sys
sys.path.insert(0, {PATH!r})
(gc.enable if {collects} else gc.disable)()
import runs.startup
print(gc.get_freeze_count(), len(gc.get_objects()), gc.isenabled())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    frozen, left, enabled = done.stdout.split()
    assert int(frozen) > 10 * int(left) and enabled == str(collects), done.stderr
