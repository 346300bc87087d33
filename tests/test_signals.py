"""Signals end the programs without a traceback, and a training saves before it ends."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from test_distributed import vector_run, vectors

from common import terminal
from prep.output import write_audio
from training.progress import StopRequest

assert vectors
ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "program, module",
    [
        ("trainSpeakerNet.py", "argparse"),
        ("trainSpeakerNet.py", "torch"),
        ("dataprep.py", "logging"),
        ("tuneThreshold.py", "argparse"),
        ("tuneThreshold.py", "numpy"),
    ],
)
def test_an_interrupt_during_the_imports(program, module, tmp_path):
    """One of the imports is replaced by a module that waits."""
    wait = "import pathlib, time\npathlib.Path(__file__ + '.ready').touch()\ntime.sleep(60)\n"
    (tmp_path / f"{module}.py").write_text(wait)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / program), "--help"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        while not list(tmp_path.glob("*.ready")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (130, b"", b"")


@pytest.mark.parametrize("kind, code", [(KeyboardInterrupt, 130), (ValueError, None)])
def test_an_interrupt_of_a_library_that_is_being_loaded(kind, code, monkeypatch):
    """numpy and scipy turn the interrupt of a late import into an ImportError. Others are bugs."""

    def main():
        try:
            raise kind
        except kind as error:
            raise ImportError("initialization failed") from error

    for name in ("open_stream", "without_failures"):
        monkeypatch.setattr(terminal, name, lambda stream: stream)
    with pytest.raises(SystemExit if code else ImportError) as caught:
        terminal.run_program(main)
    assert getattr(caught.value, "code", None) == code


def test_an_interrupt_waits_until_samples_are_encoded(tmp_path, monkeypatch):
    """In a callback of the library, which writes to memory, the exception would be lost."""
    written = []
    write = soundfile.write

    def interrupted(*args, **options):
        os.kill(os.getpid(), signal.SIGINT)
        write(*args, **options)
        written.append(True)

    monkeypatch.setattr(soundfile, "write", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            write_audio(tmp_path / "a.wav", np.zeros(100))
    finally:
        signal.signal(signal.SIGINT, before)
    assert written and not list(tmp_path.iterdir())
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_hang_ups_and_terminations_only_request_a_stop():
    # Under nohup the tests themselves ignore hang-ups.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with StopRequest() as stop:
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert stop.requested
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    signal.signal(signal.SIGHUP, before)


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_a_closed_terminal_saves_the_run(vectors, tmp_path):
    """The system sends SIGHUP, and each line that the program writes fails."""
    sizes = ["--batch_size", 4, "--max_epoch", 10**6, "--test_interval", 10**6]
    words = vector_run(vectors, tmp_path / "run", "softmax", *sizes, "--nDataLoaderThread", 1)
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "trainSpeakerNet.py"), *map(str, words)],
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(end)
    try:
        while not (tmp_path / "run" / "log.jsonl").exists():
            assert process.poll() is None
            os.read(terminal, 100_000)
        os.close(terminal)
        assert process.wait(60) == 0
    finally:
        process.kill()
    last = torch.load(tmp_path / "run" / "model" / "last.model", weights_only=True)
    assert last["step"] > 0
