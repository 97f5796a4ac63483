import errno
import io
import os
import signal
import subprocess
import sys

import pytest

from detectron2_patch.utils import process

ASK = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"


class Full(io.StringIO):
    """A stream on a full device."""

    def write(self, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def flush(self):
        self.write("")


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signal masks here")
def test_a_shielded_process_sees_no_ctrl_c():
    def ask():
        line = [sys.executable, "-S", "-c", ASK]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()

    with process.shielded():
        assert ask() == "True"
    assert ask() == "False"


def test_stdout_that_is_full_says_so_and_stderr_swallows(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Full())
    monkeypatch.setattr(sys, "stderr", Full())
    process.mend_streams()
    print("words about a result", file=sys.stderr, flush=True)
    with pytest.raises(process.Unwritten, match="No space left"):
        print("the result")


def test_only_the_first_signal_interrupts(monkeypatch):
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    with pytest.raises(process.Stopped), process.stoppable():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # a launcher's, while files are removed
            assert not ended
            monkeypatch.setattr(process, "PATIENCE", -1)
            os.kill(os.getpid(), signal.SIGTERM)
            assert ended == [128 + signal.SIGTERM]
