"""Runs a command under a terminal of its own: types keys, each when the text before it is on the screen, and says what became of
the terminal. Usage: terminal.py TEXT KEYS TEXT KEYS ... -- COMMAND. KEYS of the form !NAME send a signal."""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

at = sys.argv.index("--")
steps = list(zip(sys.argv[1:at:2], sys.argv[2:at:2]))
command = sys.argv[at + 1:]
main, other = pty.openpty()
fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
before = termios.tcgetattr(other)
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(other, termios.TIOCSCTTY, 0)
    for descriptor in (0, 1, 2):
        os.dup2(other, descriptor)
    os.execvp(command[0], command)

seen = b""
since = 0
deadline = time.monotonic() + 30


def read(seconds):
    """More of what is on the screen; False when there is none."""
    global seen
    ready, _, _ = select.select([main], [], [], seconds)
    if not ready:
        return False
    seen += os.read(main, 65536)
    return True


for text, keys in steps:
    while text.encode() not in seen[since:]:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            sys.exit(f"{text!r} is not on the screen:\n{seen.decode(errors='replace')}")
        read(0.2)
    since = len(seen)
    if keys.startswith("!"):
        os.kill(child, getattr(signal, keys[1:]))
    else:
        os.write(main, keys.encode())

status = None
while status is None:
    ended, status_now = os.waitpid(child, os.WNOHANG)
    if ended:
        status = os.waitstatus_to_exitcode(status_now)
    elif time.monotonic() > deadline:
        os.kill(child, signal.SIGKILL)
        sys.exit("it does not end")
    read(0.05)
while read(0):
    pass
print("status", status)
print("attributes", "restored" if termios.tcgetattr(other) == before else "changed")
print("screen", "left" if seen.rfind(b"\x1b[?1049l") > seen.rfind(b"\x1b[?1049h") >= 0 else "kept")
print("cursor", "shown" if seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l") else "hidden")
