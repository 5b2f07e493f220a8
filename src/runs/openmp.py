"""
One environment variable, which GNU OpenMP reads when torch is loaded. Import this before torch.

OpenMP's threads wait for each other at the end of every operation, and spin for about a
millisecond before they give up their core. Where two threads share a core (another program runs,
or a container has fewer cores than it sees), a training step takes twenty times as long. With a
spin count of 1,000 they give up the core after microseconds.
"""

import os

if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
