"""What tests of shell scripts share, and the marks of tests that cannot run on every system."""

import os
import shutil
import stat

import pytest

# Locks on files, /dev/null, named pipes, SIGKILL and the umask: Windows has none of them.
needs_posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
needs_bash = pytest.mark.skipif(
    os.name != "posix" or shutil.which("bash") is None, reason="needs bash"
)


def script(path, *lines):
    """Writes an executable shell script; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(("#!/bin/sh", *lines, "")), encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path
