"""A signal stops a training after its step, once; all others are left alone."""

import io
import signal
import subprocess
import sys
import threading

import pytest
import torch

from conftest import ROOT
from resuming import Events, copied, die, interrupt, keeper, new_trainer
from runs import resume
from runs.resume import Stopped
from training import identical


@pytest.mark.parametrize("number", resume.SIGNALS)
def test_a_signal_stops_the_run_after_its_step(number, tmp_path, capfd):
    before = signal.getsignal(number)
    trainer = new_trainer(writer=Events(4, lambda: signal.raise_signal(number)))
    with pytest.raises(Stopped) as caught:
        trainer.train(keeper(tmp_path))
    assert caught.value.number == number and isinstance(caught.value, KeyboardInterrupt)
    assert f"{tmp_path}/run" in str(caught.value) and "epoch 2 step 1 of 3" in str(caught.value)
    assert "stopping" in capfd.readouterr().err
    assert torch.load(tmp_path / "run", weights_only=True)["trainer"]["step"] == 1
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_acts_at_once(tmp_path, first):
    def twice():
        signal.raise_signal(first)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        new_trainer(writer=Events(4, twice)).train(keeper(tmp_path))
    assert not isinstance(caught.value, Stopped)
    assert torch.load(tmp_path / "run", weights_only=True)["trainer"]["step"] == 0


TWO_AT_ONCE = """
import signal, sys, threading
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from resuming import Events, keeper, new_trainer

def both():
    numbers = [signal.SIGINT, signal.SIGTERM]
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    for number in numbers:
        signal.pthread_kill(threading.main_thread().ident, number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)

new_trainer(writer=Events(4, both)).train(keeper(Path(sys.argv[1])))
"""


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system has no pthread_kill")
def test_of_two_signals_at_once_the_second_acts(tmp_path):
    """The second waits already when the first is noted. A traceback would say that it got lost."""
    folders = [str(ROOT / name) for name in ("tests", "src")]
    words = [sys.executable, "-c", TWO_AT_ONCE, tmp_path, *folders]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGTERM and "Traceback" not in done.stderr
    assert torch.load(tmp_path / "run", weights_only=True)["trainer"]["step"] == 0


class Printing(io.StringIO):
    """A stream in the middle of a print, with no file behind it."""

    def write(self, text):
        raise RuntimeError("reentrant call")


def test_a_signal_may_come_in_the_middle_of_a_print(tmp_path, monkeypatch):
    def stop():
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", Printing())
            interrupt()

    with pytest.raises(Stopped):
        new_trainer(writer=Events(4, stop)).train(keeper(tmp_path))


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_signals_that_are_ignored_stay_so(tmp_path):
    """nohup has SIGHUP ignored. conftest restores it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    new_trainer(writer=Events(4, lambda: signal.raise_signal(signal.SIGHUP))).train(
        keeper(tmp_path)
    )
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_signals_are_left_alone_afterwards_and_without_a_checkpointer(tmp_path):
    before = [signal.getsignal(number) for number in resume.SIGNALS]
    with pytest.raises(ZeroDivisionError):
        new_trainer(writer=Events(2, die)).train(keeper(tmp_path))
    new_trainer().train(keeper(tmp_path))
    with pytest.raises(KeyboardInterrupt) as caught:
        new_trainer(writer=Events(4, lambda: signal.raise_signal(signal.SIGINT))).train()
    assert not isinstance(caught.value, Stopped)
    assert [signal.getsignal(number) for number in resume.SIGNALS] == before


def test_training_in_another_thread_works(tmp_path, variant):
    """Only the main thread can handle signals."""
    alone, trainer = new_trainer(variant), new_trainer(variant)
    alone.train()
    thread = threading.Thread(target=trainer.train, args=(keeper(tmp_path),))
    thread.start()
    thread.join()
    assert identical(copied(trainer), copied(alone))
