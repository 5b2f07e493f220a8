"""
How a program loads torch, so that it starts, trains and ends sooner. Import this before torch.

OpenMP's threads wait for each other at the end of every operation, and spin for about a
millisecond before they give up their core. Where two threads share a core (another program runs,
or a container has fewer cores than it sees), a training step takes twenty times as long. With a
spin count of 1,000, which GNU OpenMP reads when torch is loaded, they give it up after
microseconds.

torch makes a quarter of a million objects that live to the end. Python's garbage collector looks
through them at the start and at the end of a program, which costs 0.3 of 1.1 seconds. Here it
leaves alone what there is once torch is loaded, also of a program that has other objects by then.
"""

import gc
import os
import sys

if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

if "torch" not in sys.modules:
    collects = gc.isenabled()
    gc.disable()
    try:
        import torch  # noqa: F401

        gc.freeze()
    finally:
        if collects:
            gc.enable()
