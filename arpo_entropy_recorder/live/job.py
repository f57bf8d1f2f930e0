"""The job that records: what its driver decides once, and its processes know from their environment alone."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.recorder.settings import Settings

JOB, COLLECTOR = "ARPO_ENTROPY_JOB", "ARPO_ENTROPY_COLLECTOR"
TOKEN_BYTES = 32
# A socket's path in the file system: 107 bytes on Linux.
MAX_SOCKET_PATH = 107


@dataclass(frozen=True)
class Job:
    """One training job.

    token: the secret of its marks and messages, 16 to 64 bytes; handed on by the environment, in no file and no log.
    address: where its collector listens, `ipc://PATH` on one node or `tcp://HOST:PORT`.
    window: entropies of the first k tokens of a segment.
    """

    token: bytes = field(repr=False)
    address: str
    window: int = 1

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Job | None:
        """The job that this process belongs to; None where there is none or recording is switched off.

        Raises UserError, in one line, for an invalid setting.
        """
        token, address = environ.get(JOB), environ.get(COLLECTOR)
        if not (token and address):
            return None
        settings = Settings.read({}, environ)
        if not settings.enabled:
            return None
        return cls(_token(token), check_address(address), settings.window)

    def environ(self) -> dict[str, str]:
        """The variables that tell another process of this job."""
        return {JOB: self.token.hex(), COLLECTOR: self.address, "ARPO_ENTROPY_WINDOW": str(self.window)}


def new_token() -> bytes:
    """A job's random token."""
    return secrets.token_bytes(TOKEN_BYTES)


def new_local_address() -> str:
    """An `ipc://` address in a new folder that no other user can enter. Raises UserError if its path is too long."""
    # A folder of mkdtemp has the mode 0700.
    return check_address(f"ipc://{tempfile.mkdtemp(prefix='arpo-entropy-')}/collector")


def check_address(address: str) -> str:
    """`address`, if a collector can have it. Raises UserError."""
    scheme, separator, place = address.partition("://")
    if scheme == "ipc" and separator and place.startswith("/"):
        if len(os.fsencode(place)) > MAX_SOCKET_PATH:
            raise UserError(
                f"{COLLECTOR}={address}: the path is longer than the {MAX_SOCKET_PATH} bytes that a socket may have; "
                "set TMPDIR to a shorter folder"
            )
        return address
    host, colon, port = place.rpartition(":")
    if scheme == "tcp" and host and colon and (port == "*" or (port.isdecimal() and int(port) < 65536)):
        return address
    raise UserError(f"{COLLECTOR}={address!r} is no address; write ipc:///PATH or tcp://HOST:PORT")


def _token(text: str) -> bytes:
    # The message must not show the token.
    try:
        token = bytes.fromhex(text)
    except ValueError:
        token = b""
    if not 16 <= len(token) <= 64:
        raise UserError(
            f"{JOB} is not a token of 16 to 64 bytes in hexadecimal; let the job's driver make it"
        )
    return token
