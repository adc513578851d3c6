"""Downloads a file of known size and checksum, without trusting the server to send it, or to end."""

from __future__ import annotations

import hashlib
import queue
import threading
import urllib.request
from collections.abc import Callable
from typing import IO

from era_cli.listener import Listener

BLOCK = 1 << 18

_Put = Callable[[bytes | Exception], None]


def fetch(url: str, *, size: int, md5: str, file: IO[bytes], what: str, timeout: float, listener: Listener) -> None:
    """Writes what is at `url` to `file`.

    It is received in a thread of its own, which ends with the process: a signal need not wait for the network.

    Args:
        size: in bytes; the server may not send more.
        timeout: seconds in which the server must answer, and then send each 256 KiB.

    Raises:
        Exception: it cannot be downloaded, or is something else; of any type, since servers send what they like.
    """
    if not url.startswith(("https://", "http://127.0.0.1:")):
        raise OSError("its URL is not https")
    received: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
    stopped = threading.Event()
    threading.Thread(target=_receive, args=(url, size, timeout, received.put, stopped), daemon=True).start()
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with listener.work(f"downloading {what}", size, "bytes") as advance:
            while block := _next(received, timeout):
                file.write(block)
                digest.update(block)
                advance(len(block))
    finally:
        stopped.set()
    if digest.hexdigest() != md5:
        raise OSError("the download is damaged")


def _next(received: queue.SimpleQueue[bytes | Exception], timeout: float) -> bytes:
    try:
        block = received.get(timeout=timeout)
    except queue.Empty:
        raise TimeoutError(f"timed out: less than {BLOCK // 1024} KiB came within {timeout:g} s") from None
    if isinstance(block, Exception):
        raise block
    return block


def _receive(url: str, size: int, timeout: float, put: _Put, stopped: threading.Event) -> None:
    """Puts blocks, then an empty one or what went wrong."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            if response.geturl().split(":")[0] != url.split(":")[0]:
                raise OSError(f"the server redirected to {response.geturl()}")
            total = 0
            while not stopped.is_set() and (block := response.read(BLOCK)):
                total += len(block)
                if total > size:
                    raise OSError(f"the server sends more than {size:,} bytes")
                put(block)
        put(b"")
    except Exception as error:  # told to the thread that waits
        put(error)
