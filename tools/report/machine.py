"""
Where a measurement was made: machine, training precision, library versions, the code's commit.
`python tools/report/machine.py` prints it as a line of JSON.
"""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
from runs.device import choose_device, choose_precision  # noqa: E402


def hardware():
    """The GPU, where torch has one, and the processor with the number of its cores."""
    cpu = f"{processor()}, {os.cpu_count()} cores"
    return f"{torch.cuda.get_device_name()}; {cpu}" if torch.cuda.is_available() else cpu


def processor(path="/proc/cpuinfo"):
    """The processor's name; with family and model if it has no number, as on virtual machines."""
    try:
        with open(path, encoding="utf-8") as file:
            first, *_ = file.read().split("\n\n")
    except OSError:
        first = ""
    facts = dict(re.findall(r"(?m)^([^:\t]*)\t*: (.+)", first))
    name = facts.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in facts and not re.search(r"\d", name):
        name += f" (family {facts['cpu family']}, model {facts.get('model')})"
    return name


def versions():
    """{name: version} of Python, torch and numpy."""
    libraries = {"torch": str(torch.__version__), "numpy": numpy.__version__}
    return {"python": platform.python_version(), **libraries}


def commit():
    """The code's git commit, with + if files differ from it; None outside a checkout."""
    changed = ("status", "--porcelain", "--untracked-files=no")
    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git(*changed) else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def git(*words):
    command = ["git", "-C", str(ROOT), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def precision():
    """The precision that training chooses here: float32 or bfloat16."""
    return str(choose_precision("auto", choose_device())).removeprefix("torch.")


def description():
    return {
        "hardware": hardware(),
        "precision": precision(),
        "versions": versions(),
        "commit": commit(),
    }


if __name__ == "__main__":
    from runs.console import command

    with command("machine.py"):
        print(json.dumps(description()))
