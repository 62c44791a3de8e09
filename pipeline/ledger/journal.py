"""The journal of a ledger: its transactions as JSON lines in the campaign folder, from which any host makes it again.

    journal/000002-000000.snapshot.jsonl.gz     all rows as they were after transaction N
    journal/000002-000001.jsonl                 the transactions from N + 1 on, one a line

A segment's name begins with the epoch of the driver that wrote it (lease.py); a driver writes only segments of its own,
and only appends. The first line is a header: whose journal it is, the epoch, and after which transaction (`after`) the
segment goes on. A newer segment that goes on after an earlier transaction overrules what older ones say from there on:
that is how lines of a driver that did not yet know that it had lost its lease come to nothing.

Each line carries a CRC-32 of itself and, through the start value, of all lines before it. A last line that is torn was
never committed. A damaged line anywhere else is an error, not a shorter journal.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any, BinaryIO

from splitfleet.kernels.errors import HarnessError, UserError

JOURNAL = "journal"
JOURNAL_SCHEMA = 1
SEGMENT_BYTES = 16 << 20
_NAME = re.compile(r"(\d{6})-(\d{6})(\.snapshot\.jsonl\.gz|\.jsonl)")
_MARK = len(b'{"crc32":"00000000",')

Change = tuple[str, list[list[Any]]]
"""An SQL statement and the rows of parameters that it was executed with; no rows: once, without parameters."""


@dataclass(frozen=True)
class Position:
    """How far a journal has been read: the last transaction, the CRC-32 of its line, and where the line begins.

    A `line_offset` of 0 is the segment's header: its first transaction is still to come.
    """

    transaction: int
    crc32: int
    segment: str
    line_offset: int


@dataclass(frozen=True)
class Segment:
    """A file of a journal, and what its header says."""

    path: Path
    epoch: int
    number: int
    owner: str
    after: int
    chain: int

    @property
    def is_snapshot(self) -> bool:
        return self.path.suffix == ".gz"

    @property
    def start(self) -> Position:
        return Position(self.after, self.chain, self.path.name, 0)

    def open(self) -> BinaryIO:
        return gzip.open(self.path, "rb") if self.is_snapshot else self.path.open("rb")  # type: ignore[return-value]


class JournalWriter:
    """Appends to a segment of its own. What `append` has returned is on the disk."""

    def __init__(self, folder: Path, owner: str, epoch: int, number: int, after: Position | None) -> None:
        transaction, chain = (after.transaction, after.crc32) if after else (0, 0)
        self._epoch = epoch
        self._owner = owner
        self._folder = folder / JOURNAL
        self._folder.mkdir(exist_ok=True)
        self.number = number
        self._path = self._folder / _segment_name(epoch, number)
        header, _ = _encode(_header(owner, epoch, transaction, chain), 0)
        # Nobody may ever have appended to this segment but us, so it must be new.
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        self.position = Position(transaction, chain, self._path.name, 0)
        self.bytes = 0
        try:
            self._put(header)
        except OSError:
            self.close()
            self._path.unlink()
            raise
        sync_folder(self._folder)

    def append(self, changes: Iterable[Change]) -> Position:
        """Writes one transaction. Raises OSError where that fails, and then nothing of it is left."""
        number = self.position.transaction + 1
        line, crc = _encode({"transaction": number, "epoch": self._epoch, "changes": changes}, self.position.crc32)
        offset = self.bytes
        self._put(line)
        self.position = Position(number, crc, self._path.name, offset)
        return self.position

    def close(self) -> None:
        os.close(self._file)

    def _put(self, line: bytes) -> None:
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self.bytes)
            raise
        self.bytes += len(line)


def write_snapshot(
    folder: Path, owner: str, epoch: int, number: int, at: Position | None, changes: Iterable[Change]
) -> Position:
    """Writes a whole ledger as it is after `at`; the file shows up whole or not at all. Returns the place behind it."""
    transaction, chain = (at.transaction, at.crc32) if at else (0, 0)
    path = folder / JOURNAL / _segment_name(epoch, number, is_snapshot=True)
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_name(f".{path.name}.new")
    try:
        with unfinished.open("wb") as file:
            with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0) as packed:
                line, _ = _encode(_header(owner, epoch, transaction, chain), 0)
                packed.write(line)
                crc = 0
                for change in changes:
                    line, crc = _encode({"changes": [change]}, crc)
                    packed.write(line)
                packed.write(_encode({"end": True}, crc)[0])
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)  # on a full disk half of one would only make it fuller
    sync_folder(path.parent)
    return Position(transaction, chain, path.name, 0)


def remove_snapshot(folder: Path, place: Position) -> None:
    """Removes the snapshot behind which nothing was written."""
    (folder / JOURNAL / place.segment).unlink()
    sync_folder(folder / JOURNAL)


def segments_of(folder: Path) -> list[Segment]:
    """The segments that count, in order: the newest snapshot, where there is one, and what follows it.

    Raises UserError for a journal of another schema, HarnessError for one whose headers cannot be read.
    """
    while True:
        names = _counted_names(folder)
        try:
            return [segment for name in names if (segment := _segment(folder / JOURNAL / name))]
        except FileNotFoundError:  # a driver has compacted its journal since it was listed
            if _counted_names(folder) == names:
                raise


def last_number(folder: Path, epoch: int) -> int:
    """The highest number that a segment of this epoch has; -1 where it has none."""
    matches = [match for path in (folder / JOURNAL).glob("*") if (match := _NAME.fullmatch(path.name))]
    return max((int(match[2]) for match in matches if int(match[1]) == epoch), default=-1)


def last_epoch(folder: Path) -> int:
    """The newest epoch that has written; 0 before the first."""
    matches = [match for path in (folder / JOURNAL).glob("*") if (match := _NAME.fullmatch(path.name))]
    return max((int(match[1]) for match in matches), default=0)


def remove_before(folder: Path, snapshot: str) -> None:
    """Removes what a snapshot makes superfluous, and what was left half-written."""
    for path in (folder / JOURNAL).iterdir():
        if (_NAME.fullmatch(path.name) and path.name < snapshot) or path.name.endswith(".new"):
            path.unlink(missing_ok=True)


def journal_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / JOURNAL).glob("*") if _NAME.fullmatch(path.name))


def is_at(segments: list[Segment], position: Position) -> bool:
    """Whether the journal has what was read up to `position`, and has not been overruled before it."""
    for index, segment in enumerate(segments):
        if segment.path.name == position.segment:
            if position.transaction > _limit(segments, index):
                return False
            if position.line_offset == 0:
                return segment.start == position
            return _crc_at(segment.path, position.line_offset) == position.crc32
    return False


def snapshot_changes(segment: Segment) -> Iterator[Change]:
    """What a snapshot holds. Raises HarnessError where it is damaged."""
    crc = 0
    try:
        with segment.open() as lines:
            lines.readline()
            for line in lines:
                content, crc = _decode(line, crc)
                if content is None:
                    break
                if content.get("end"):
                    return
                yield from content["changes"]
    except FileNotFoundError:  # compacted since it was listed
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(segment.path, str(error)) from error
    raise _damaged(segment.path, "a line does not match its checksum")


def transactions_since(segments: list[Segment], position: Position) -> Iterator[tuple[Position, list[Change]]]:
    """The transactions behind `position`, which must be in one of the segments, each with the place behind it.

    Raises HarnessError where the journal is damaged.
    """
    first = next(index for index, segment in enumerate(segments) if segment.path.name == position.segment)
    for index in range(first, len(segments)):
        segment, limit = segments[index], _limit(segments, index)
        if index > first:
            if segment.after >= limit:
                continue  # overruled as a whole
            if (segment.after, segment.chain) != (position.transaction, position.crc32):
                raise _damaged(segments[index - 1].path, f"transactions before {segment.after + 1} are missing")
            position = segment.start
        if segment.is_snapshot or position.transaction == limit:
            continue
        for place, changes in _lines(segment, position):
            yield place, changes
            position = place
            if position.transaction == limit:
                break


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder as lasting as the files."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lines(segment: Segment, position: Position) -> Iterator[tuple[Position, list[Change]]]:
    with segment.open() as file:
        file.seek(position.line_offset)
        file.readline()
        offset, number, crc = file.tell(), position.transaction, position.crc32
        for line in file:
            content, crc = _decode(line, crc)
            if content is None or content["transaction"] != number + 1:
                if not _is_last(line, file):
                    raise _damaged(segment.path, f"transaction {number + 1} does not match its checksum")
                return  # torn, so never committed; or its writer is just writing it
            number += 1
            yield Position(number, crc, segment.path.name, offset), content["changes"]
            offset += len(line)


def _is_last(line: bytes, file: BufferedIOBase | BinaryIO) -> bool:
    """Whether nothing followed `line` when it was read: one without an end was at the end, whatever has come since."""
    return not line.endswith(b"\n") or not file.readline()


def _counted_names(folder: Path) -> list[str]:
    names = sorted(name for path in (folder / JOURNAL).glob("*") if (name := path.name) and _NAME.fullmatch(name))
    snapshots = [name for name in names if name.endswith(".gz")]
    return [name for name in names if not snapshots or name >= snapshots[-1]]


def _limit(segments: list[Segment], index: int) -> int:
    """The last transaction of a segment that no later one overrules."""
    return min((segment.after for segment in segments[index + 1 :]), default=1 << 62)


def _segment_name(epoch: int, number: int, *, is_snapshot: bool = False) -> str:
    return f"{epoch:06d}-{number:06d}" + (".snapshot.jsonl.gz" if is_snapshot else ".jsonl")


def _header(owner: str, epoch: int, after: int, chain: int) -> dict[str, Any]:
    return {"schema": JOURNAL_SCHEMA, "owner": owner, "epoch": epoch, "after": after, "chain": f"{chain:08x}"}


def _segment(path: Path) -> Segment | None:
    """None where the writer died before the header was whole."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            header = file.readline()
            content, _ = _decode(header, 0)
            if content is None and not _is_last(header, file):
                raise _damaged(path, "its header cannot be read")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path, str(error)) from error
    if content is None:
        return None
    if content["schema"] != JOURNAL_SCHEMA:
        raise UserError(
            f"{path}: journal schema {content['schema']}; this version reads {JOURNAL_SCHEMA}: use the version of "
            "Splitfleet that began the campaign, or begin it anew in another folder"
        )
    match = _NAME.fullmatch(path.name)
    assert match
    return Segment(path, int(match[1]), int(match[2]), content["owner"], content["after"], int(content["chain"], 16))


def _encode(content: dict[str, Any], chain: int) -> tuple[bytes, int]:
    body = json.dumps(content, separators=(",", ":")).encode()[1:] + b"\n"
    crc = zlib.crc32(body, chain)
    return b'{"crc32":"%08x",' % crc + body, crc


def _decode(line: bytes, chain: int) -> tuple[dict[str, Any] | None, int]:
    crc = zlib.crc32(line[_MARK:], chain)
    if not line.endswith(b"\n") or line[:_MARK] != b'{"crc32":"%08x",' % crc:
        return None, crc
    return json.loads(line), crc


def _crc_at(path: Path, offset: int) -> int | None:
    with path.open("rb") as file:
        file.seek(offset)
        mark = re.fullmatch(rb'\{"crc32":"([0-9a-f]{8})",', file.read(_MARK))
    return int(mark[1], 16) if mark else None


def _damaged(path: Path, what: str) -> HarnessError:
    return HarnessError(
        f"{path}: the journal is damaged: {what}. Run the campaign on the host that ran it last, which has a ledger of "
        "its own, or restore the file from a copy of the folder"
    )
