"""Batches whose phones are away: how long they are waited for, and what becomes of them."""

from __future__ import annotations

from collections import deque

from .board import Board
from .events import Follow, Instruction, Remove
from .present import PresentPhone


class Absence:
    """A phone that leaves keeps its batches, on which its agent goes on. They are given up when it stays away past the
    grace time and another phone of the class is there to take the jobs."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._since: deque[tuple[float, str]] = deque()  # since when, which batch

    def begin(self, batch: str, now_s: float) -> list[Instruction]:
        """The batch's phone is away from now on. One of which every result is there is not waited for."""
        self._board.batches[batch].away_since_s = now_s
        if not self._board.batches[batch].entries:
            return self._board.give_up(batch)
        self._since.append((now_s, batch))
        return []

    def leave(self, name: str, now_s: float) -> list[Instruction]:
        """The phone is gone."""
        self._board.forget(name)
        done: list[Instruction] = []
        for batch in in_order(self._board.batches_of.get(name, ())):
            if self._board.batches[batch].away_since_s is None:
                done += self.begin(batch, now_s)
        return done

    def end(self, name: str, phone: PresentPhone, found: frozenset[str]) -> list[Instruction]:
        """The phone is back with these batches on it. The first of its open ones is at work, the next one follows; what
        else lies there is in the way, and goes first: a phone does one thing at a time."""
        board, done = self._board, list[Instruction]()
        device_class = board.device_class(phone.device_class)
        for batch in in_order(board.batches_of.get(name, ())):
            is_kept = batch in found and board.batches[batch].device_class == phone.device_class
            if is_kept and phone.ahead is None:
                board.batches[batch].away_since_s = None
                device_class.overdue.discard(batch)
                board.phones.give(phone, batch)
                done.append(Follow(name, batch))
            else:
                done += board.give_up(batch)
        for batch in sorted(device_class.overdue):
            done += board.give_up(batch)
        stale = sorted(found - {phone.batch, phone.ahead})
        return [*(Remove(name, batch) for batch in stale), *done]

    def check(self, now_s: float) -> list[Instruction]:
        """Gives up what has been waited for long enough, or will be as soon as another phone comes."""
        board, done = self._board, list[Instruction]()
        while self._since and now_s - self._since[0][0] > board.pacing.grace_s:
            since_s, name = self._since.popleft()
            batch = board.batches.get(name)
            if batch and batch.away_since_s == since_s:
                device_class = board.device_class(batch.device_class)
                if device_class.members:
                    done += board.give_up(name)
                else:
                    device_class.overdue.add(name)
        return done


def in_order(batches: set[str] | tuple[()]) -> list[str]:
    """Batches' ids end in a number that grows, and its length with it."""
    return sorted(batches, key=lambda name: (len(name), name))
