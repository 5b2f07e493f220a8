"""
What a measurement says of where it was made: the machine, the versions, the code's commit. `python tools/machine.py` prints it as a
line of JSON.
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

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
from hardware import choose_device, choose_precision  # noqa: E402


def hardware():
    """The machine in words: the GPU where torch has one, and the processor with the number of its cores."""
    cpu = f"{processor()}, {os.cpu_count()} cores"
    return f"{torch.cuda.get_device_name()}; {cpu}" if torch.cuda.is_available() else cpu


def processor(path="/proc/cpuinfo"):
    """The processor's name; with family and model where it has no number in it, as virtual machines hide it."""
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
    """{name: version} of Python and of the libraries that compute."""
    return {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": numpy.__version__}


def commit():
    """The code's git commit, with + if files differ from it; None outside a checkout."""
    def git(*arguments):
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True).stdout.strip()
    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def precision():
    """The type of the products of matrices that training chooses here."""
    return str(choose_precision("auto", choose_device())).removeprefix("torch.")


if __name__ == "__main__":
    print(json.dumps({"hardware": hardware(), "precision": precision(), "versions": versions(), "commit": commit()}))
