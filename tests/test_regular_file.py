from __future__ import annotations

import os
from pathlib import Path

import pytest

from era_cli.regular_file import read_regular


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of POSIX")
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    os.mkfifo(tmp_path / "pipe")
    assert read_regular(tmp_path / "file", 7) == b"content"
    for name, most, reason in (("pipe", 9, "named pipe"), (".", 9, "folder"), ("file", 6, "larger")):
        with pytest.raises(OSError, match=reason):
            read_regular(tmp_path / name, most)
    with pytest.raises(OSError, match="device"):
        read_regular(Path("/dev/zero"), 9)
