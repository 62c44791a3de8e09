"""Where a path of the phone lies on this machine: below the phone's root folder, and nowhere else."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path

from splitfleet.kernels.errors import UserError

_SHELL_SAFE = re.compile(r"[A-Za-z0-9/._+@%,:=-]+")
_IN_COMMAND = re.compile(
    r"""(?<![\w./~$}*?\]-])                         # not in the middle of a longer path
        /(?:(?:data|sdcard|sys|system)(?![\w.-])    # the phone's own folders
           # of /proc only what describes the phone: processes are real
           |proc/(?:cpuinfo|loadavg|version|sys/kernel/random/boot_id)(?![\w./-]))""",
    re.VERBOSE,
)
# An output redirection to a file of the phone: absolute below a writable folder, or relative.
_REDIRECTION = r"""(>>?\s*["']?)(?:%s/(?:data|sdcard)/|[A-Za-z_.])[^\s;&|"')]*"""
_WRITABLE = ("/data/local/tmp", "/sdcard")


class PhonePaths:
    """Maps paths of the phone, alone and within command lines."""

    def __init__(self, root: Path) -> None:
        """`root` is the phone's folder. Raises UserError where its name could not stand in a command unquoted."""
        self.root = root.resolve()
        if not _SHELL_SAFE.fullmatch(str(self.root)):
            raise UserError(
                f"the phone's root folder {str(self.root)!r} holds a blank or another character that the shell "
                "reads specially: choose another one with --root"
            )
        self._redirection = re.compile(_REDIRECTION % re.escape(str(self.root)))

    def local(self, phone_path: str) -> Path:
        """The file here. Links in the folders above it are followed; PermissionError when one leads out of the root."""
        inside = phone_path.removeprefix(str(self.root))
        path = self.root / posixpath.normpath("/" + inside).lstrip("/")
        if path == self.root:
            return path
        return self._checked(Path(os.path.realpath(path.parent))) / path.name

    def followed(self, phone_path: str) -> Path:
        """As `local`, with a link in the last place followed too."""
        return self._checked(Path(os.path.realpath(self.local(phone_path))))

    def writable(self, phone_path: str) -> Path:
        """As `local`, for a file to be written: PermissionError outside the places that ADB's shell user may write."""
        path = self.local(phone_path)
        if not any(path.is_relative_to(f"{self.root}{place}") for place in _WRITABLE):
            raise PermissionError(13, "Permission denied", phone_path)
        return path

    def command(self, line: str, *, disk_full: bool) -> str:
        """A command line in which the phone's paths are replaced; on a full disk its redirections go to /dev/full."""
        mapped = _IN_COMMAND.sub(lambda match: f"{self.root}{match.group()}", line)
        return self._redirection.sub(r"\1/dev/full", mapped) if disk_full else mapped

    def _checked(self, path: Path) -> Path:
        if not path.is_relative_to(self.root):
            raise PermissionError(13, "Permission denied", str(path))
        return path
