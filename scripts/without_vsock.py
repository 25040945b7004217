"""Run a command that cannot open a VM socket: ``without_vsock.py COMMAND...``.

adbd listens on one, without a password, and a network namespace does not contain those.  A seccomp
filter refuses them to the command and to all that it starts, whatever runs it.
"""

import ctypes
import os
import platform
import struct
import sys

SOCKET = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}  # architecture, system call
AF_VSOCK, EAFNOSUPPORT = 40, 97
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2


def program() -> bytes:
    """Return the filter: five questions, then refuse or allow."""
    architecture, number = SOCKET[platform.machine()]
    steps = [
        (LOAD, 0, 0, 4),  # the architecture of the call
        (EQUAL, 0, 4, architecture),
        (LOAD, 0, 0, 0),  # its number
        (EQUAL, 0, 2, number),
        (LOAD, 0, 0, 16),  # its first argument: the family
        (EQUAL, 1, 0, AF_VSOCK),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, ERRNO | EAFNOSUPPORT),
    ]
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


def main() -> None:
    """Install the filter and become the command."""
    code = program()
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, FILTER, header):
        sys.exit(f"the filter was refused: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
