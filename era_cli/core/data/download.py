"""Downloads a file of known size and checksum, without trusting the server to send it, or to end."""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
import urllib.request
from collections.abc import Callable
from typing import IO

from era_cli.listener import Listener

BLOCK = 1 << 18
_MOST_WAITING = 16  # blocks received and not yet written

_Received = queue.Queue[bytes | Exception]


def fetch(
    url: str,
    *,
    size: int,
    md5: str,
    file: IO[bytes],
    what: str,
    timeout: float,
    progressed: Callable[[], None],
    listener: Listener,
) -> None:
    """Writes what is at `url` to `file`.

    It is received in a thread of its own, which ends with the process: a signal need not wait for the network.

    Args:
        size: in bytes; the server may not send more.
        timeout: seconds in which the server must answer, and then send each 256 KiB.
        progressed: called whenever a part is written.

    Raises:
        Exception: it cannot be downloaded, or is something else; of any type, since servers send what they like.
    """
    if not url.startswith(("https://", "http://127.0.0.1:")):
        raise OSError("its URL is not https")
    received: _Received = queue.Queue(_MOST_WAITING)
    stopped = threading.Event()
    threading.Thread(target=_receive, args=(url, size, timeout, received, stopped), daemon=True).start()
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with listener.work(f"downloading {what}", size, "bytes") as advance:
            while block := _next(received, timeout):
                file.write(block)
                digest.update(block)
                advance(len(block))
                progressed()
    finally:
        stopped.set()
    if digest.hexdigest() != md5:
        raise OSError("the download is damaged")


def _next(received: _Received, timeout: float) -> bytes:
    try:
        block = received.get(timeout=timeout)
    except queue.Empty:
        raise TimeoutError(f"timed out: less than {BLOCK // 1024} KiB arrived within {timeout:g} s") from None
    if isinstance(block, Exception):
        raise block
    return block


def _receive(url: str, size: int, timeout: float, received: _Received, stopped: threading.Event) -> None:
    """Puts blocks, then an empty one or what went wrong."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            if response.geturl().split(":")[0] != url.split(":")[0]:
                raise OSError(f"the server redirected to {response.geturl()}")
            total = 0
            while not stopped.is_set() and (block := response.read(BLOCK)):
                total += len(block)
                if total > size:
                    raise OSError(f"the server sent more than {size:,} bytes")
                _put(received, block, stopped)
        _put(received, b"", stopped)
    except Exception as error:  # told to the thread that waits
        _put(received, error, stopped)


def _put(received: _Received, block: bytes | Exception, stopped: threading.Event) -> None:
    """Waits until there is room, or nobody takes it any more."""
    while not stopped.is_set():
        with contextlib.suppress(queue.Full):
            received.put(block, timeout=1)
            return
