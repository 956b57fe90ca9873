# SPDX-License-Identifier: Apache-2.0
"""Starts a program as a service manager does that listens in its place:

    python3 passing.py NAMES FD... -- PROGRAM ARGUMENT...

The descriptors become 3, 4, ...; LISTEN_PID can be right only in the process itself."""
import fcntl
import os
import sys

if __name__ == "__main__":
    at = sys.argv.index("--")
    # First out of the way of each other.
    fds = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in sys.argv[2:at]]
    for i, fd in enumerate(fds):
        os.dup2(fd, 3 + i)
        os.close(fd)
    os.environ.update(LISTEN_PID=os.environ.get("WRONG_PID", str(os.getpid())), LISTEN_FDS=str(len(fds)),
                      LISTEN_FDNAMES=sys.argv[1])
    os.execv(sys.argv[at + 1], sys.argv[at + 1:])
