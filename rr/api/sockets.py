"""The unix socket's file: made whole at once, and taken over only from a process that is gone."""

import os
import socket
import stat
from pathlib import Path

from rr.errors import RRError

MODE = 0o660
LONGEST = 107
ANSWER_TIMEOUT = 0.5


class SocketTaken(RRError):
    """The path of the socket cannot be used; the message says why and the way out."""


def bind(path: Path) -> socket.socket:
    """Answer a bound unix socket at `path`, mode 0660; a socket file that nobody answers on is replaced.

    It is bound under another name and then renamed, so that nobody meets it with other rights.
    """
    if len(os.fsencode(path)) > LONGEST - len(".new"):
        raise SocketTaken(f"The path {path} is too long for a unix socket; choose a shorter run_dir")
    if not path.parent.is_dir():
        raise SocketTaken(f"There is no directory {path.parent} for the socket; create it or change run_dir")
    _require_free(path)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(new))
        new.chmod(MODE)
        new.rename(path)
    except OSError as fault:
        bound.close()
        raise SocketTaken(
            f"The socket {path} cannot be made: {fault.strerror}; check the rights of its directory"
        ) from fault
    return bound


def identity(path: Path) -> tuple[int, int] | None:
    """Answer what tells this file from a later one of the same name; None if there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _require_free(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SocketTaken(f"{path} exists and is no socket; move it away or change run_dir")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(ANSWER_TIMEOUT)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError as fault:
            raise SocketTaken(
                f"It cannot be told who uses {path}: {fault}; remove it if no rrd runs"
            ) from fault
    raise SocketTaken(f"Another rrd answers on {path}; stop it, or give this one a run_dir of its own")
