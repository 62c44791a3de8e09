"""This host itself as a device: a folder stands for the phone's storage, and its shell is this host's."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from splitfleet.kernels.errors import DeviceError

from .transport import READ_LIMIT_BYTES, CommandResult, CommandTimeout, PhoneStorageFull


class LocalTransport:
    """Runs commands in `folder` with the given environment."""

    name = "local device"

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder.absolute()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._environment = {**os.environ, **(environment or {})}
        self.folder = str(self._folder)

    def run(self, command: str, timeout_s: float) -> CommandResult:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise CommandTimeout(f"{self.name}: no answer within {timeout_s:g} s to: {command}") from None
        return CommandResult(output.decode("utf-8", "replace"), process.returncode)

    def push(self, content: bytes, remote: str, mode: int = 0o644) -> None:
        path = self._path(remote)
        unfinished = path.with_name(f"{path.name}.new")
        try:
            unfinished.write_bytes(content)
            unfinished.chmod(mode)
            unfinished.replace(path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            if error.errno == errno.ENOSPC:
                raise PhoneStorageFull(f"{self.name}: disk full: no space left for {remote}; free some") from error
            raise DeviceError(f"{self.name}: {remote}: {error.strerror}; mend it and run the command again") from error

    def pull(self, remote: str, local: Path) -> None:
        try:
            local.write_bytes(self._path(remote).read_bytes())
        except OSError as error:
            raise DeviceError(f"{self.name}: {remote}: {error.strerror}; mend it and run the command again") from error

    def read_from(self, remote: str, offset: int) -> bytes:
        try:
            with self._path(remote).open("rb") as file:
                file.seek(offset)
                return file.read(READ_LIMIT_BYTES)
        except FileNotFoundError:
            return b""

    def close(self) -> None:
        pass

    def _path(self, remote: str) -> Path:
        return self._folder / remote
