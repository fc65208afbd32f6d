"""Processes of their own, forked from one that has imported what programs need."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

SECONDS = 120  # that a process may take

# Imports take seconds, and a fork next to nothing. The parent of all forks is a fresh
# process: that of the tests has threads, and a fork would inherit what they lock.
PARENT = """
import os, signal, socket, sys
import pandas, pyarrow.parquet, starlette, torch, transformers, uvicorn
from lrp_hooks import cli
from lrp_hooks.commands import compare, evaluate, explain, serve
transformers.BertConfig, transformers.BertForSequenceClassification
transformers.PreTrainedTokenizerFast
torch.set_num_threads(1)
# What a parent ignores (nohup, a job in the background) its children ignore too.
signal.signal(signal.SIGINT, signal.default_int_handler)
line = socket.socket(fileno=int(sys.argv[1]))
line.send(b"ready\\n")
while True:
    program, streams, *_ = socket.recv_fds(line, 1 << 16, 3)
    if not program:
        break
    child = os.fork()
    if not child:
        line.close()
        os.setsid()
        for stream, number in zip(streams, (1, 2, 0)):
            os.dup2(stream, number)
            os.close(stream)
        exec(program, {"__name__": "__main__"})
        sys.exit()
    for stream in streams:
        os.close(stream)
    line.send(b"%d\\n" % child)
    line.send(b"%d\\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

# What a shell calls in the place of ``lrp-hooks``: the same, in the folder and with the
# streams of the shell.
STAND_IN = """
import os, socket, sys
line = socket.socket(fileno=int(sys.argv[1]))
line.settimeout(float(sys.argv[2]))
program = f"import os, sys; os.chdir({os.getcwd()!r}); from lrp_hooks import cli; "
program += f"sys.exit(cli.main({sys.argv[3:]!r}))"
socket.send_fds(line, [program.encode()], [1, 2, 0])
said = b""
while said.count(b"\\n") < 2:
    said += line.recv(64) or sys.exit("no answer")
sys.exit(int(said.split()[1]))
"""


def command(*arguments):
    """Return a program that runs ``lrp-hooks`` with arguments."""
    given = list(map(str, arguments))
    return f"import sys; from lrp_hooks import cli; sys.exit(cli.main({given!r}))"


@dataclass
class Done:
    """How a process ended: less than 0 for a signal; and what it said."""

    returncode: int
    stdout: bytes
    stderr: bytes


class Forks:
    """Runs programs in processes of their own, one after the other."""

    def __init__(self, line):
        self._line, self._running = line, None
        assert self._answer() == b"ready\n"

    def _answer(self):
        """Return a line; a file would be of no use any more after a time-out."""
        said = b""
        while not said.endswith(b"\n"):
            said += self._line.recv(1) or b", and no more\n"
        return said

    def start(self, program, stdout, stderr):
        """Run a program that writes to these files, in a session of its own."""
        streams = [stream.fileno() for stream in (stdout, stderr)]
        socket.send_fds(self._line, [program.encode()], streams)
        self._running = int(self._answer())
        return self._running

    def wait(self):
        """Return the exit code of the last one, or less than 0 for a signal."""
        code, self._running = int(self._answer()), None
        return code

    def end(self):
        """End what nobody has waited for."""
        if self._running is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._running, signal.SIGKILL)
            self.wait()

    def run(self, program):
        """Run a program to its end."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            self.start(program, out, err)
            code = self.wait()
            return Done(code, *(said.seek(0) or said.read() for said in (out, err)))

    def shell(self, code, folder):
        """Run what stands on a page for bash, with ``lrp-hooks`` for a fork."""
        number = self._line.fileno()
        call = [sys.executable, "-I", "-S", "-c", STAND_IN, str(number), str(SECONDS)]
        named = f'lrp-hooks() {{ {shlex.join(call)} "$@"; }}\n'
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", named + code],
            cwd=folder,
            capture_output=True,
            check=False,
            pass_fds=[number],
        )


@contextmanager
def forking():
    """Start what forks are made of."""
    ours, theirs = socket.socketpair()
    ours.settimeout(SECONDS)
    number = theirs.fileno()
    start = [sys.executable, "-c", PARENT, str(number)]
    with (
        closing(ours),
        # Python asks once whether it can seek in standard output, and a pipe cannot.
        subprocess.Popen(start, pass_fds=[number], stdout=subprocess.PIPE),
    ):
        theirs.close()
        yield Forks(ours)
        ours.shutdown(socket.SHUT_RDWR)
