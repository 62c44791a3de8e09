"""Reads the results of a batch as they come, and starts its agent again where it died."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from .pace import Pace
from .phone_batch import AgentStopped, NewLines, PhoneBatch
from .transport import STORAGE_FULL, PhoneStorageFull

_MAX_STARTS_WITHOUT_PROGRESS = 3
_LEAST_WAIT_S = 0.05
_MOST = 0.7
_LONGER = 1.5  # the next wait for one who says nothing: no more than a third of its time is found out too late
_LONG_SILENCE_S = 10.0
_LONG_WAITS = 5  # of poll_s
_AGENT_S = 20.0  # what the agent takes beside a job's bound: reading it, and ending its worker


def follow_batch(
    batch: PhoneBatch, offset: int, pace: Pace, stopping: threading.Event, pause: Callable[[float], object]
) -> Iterator[NewLines]:
    """Yields after each look, with the lines that are new or none, until the batch's last line or `stopping`.

    Where the number of jobs is known, looks come closer together as the end comes near, so that the phone waits little.
    `pause` waits for so many seconds, or for less where something else is to be done before the next look.
    Raises AgentStopped when the agent dies over and over at the same place, says nothing for too long or writes what is
    no result, PhoneStorageFull where it cannot write, and the transport's errors.
    """
    starts, done, done_us = 0, 0, 0
    news_s = checked_s = time.monotonic()
    wait_s = _LEAST_WAIT_S
    # A job may say nothing until it ends; the agent itself ends what hangs.
    silence_s = max(pace.stall_s, batch.bound_s + _AGENT_S)
    while not stopping.is_set():
        news = batch.read(offset)
        yield news
        now_s = time.monotonic()
        if news.fault:
            raise AgentStopped(_bad_line_text(batch, news))
        if news.offset > offset:
            offset, starts, news_s = news.offset, 0, now_s
            if news.lines and news.lines[-1]["type"] == "end":
                return
            results = [line for line in news.lines if line["type"] == "result"]
            done += len(results)
            done_us += sum((line.get("elapsed_us") or 0) - (line.get("build_us") or 0) for line in results)
            wait_s = _until_end_s(batch.job_count, done, done_us / 1e6, pace)
        else:
            # A job that takes long is looked after more rarely: each look costs the phone something.
            longest_s = pace.poll_s * (_LONG_WAITS if now_s - news_s > _LONG_SILENCE_S else 1)
            wait_s = min(_LONGER * wait_s, longest_s)
            if now_s - checked_s >= pace.poll_s:
                checked_s = now_s
                if not batch.is_running() and batch.read(offset).offset == offset:
                    starts = _start_again(batch, starts)
            if now_s - news_s > silence_s:
                raise _agent_stopped(batch, f"no result for {silence_s:.0f} s")
        pause(wait_s)


def _until_end_s(jobs: int | None, done: int, took_s: float, pace: Pace) -> float:
    """Most of what the jobs that are left will take at the pace of those before, which took `took_s`, builds apart."""
    left_s = took_s / done * (jobs - done) if jobs and done else 0.0 if jobs else pace.poll_s
    return min(max(_MOST * left_s, _LEAST_WAIT_S), pace.poll_s)


def _start_again(batch: PhoneBatch, starts: int) -> int:
    if starts == _MAX_STARTS_WITHOUT_PROGRESS:
        raise _agent_stopped(batch, f"the agent ended {starts + 1} times without a new result")
    batch.start()
    return starts + 1


def _agent_stopped(batch: PhoneBatch, what: str) -> AgentStopped | PhoneStorageFull:
    log = batch.log()
    if STORAGE_FULL in log:
        return PhoneStorageFull(f"{batch.name}: disk full: the agent cannot write its results; free some")
    return AgentStopped(
        f"{batch.name}: {what}; it said: {log or 'nothing'}; its jobs are tried again; if that does not help, "
        "restart the phone"
    )


def _bad_line_text(batch: PhoneBatch, news: NewLines) -> str:
    results = [line["id"] for line in news.lines if line["type"] == "result"]
    where = f"behind job {results[-1]}" if results else f"at byte {news.offset}"
    return (
        f"{batch.name}: {where}: its result file holds a line that is no result: {news.fault}; what came before is "
        "kept, the rest is measured again; if it happens again, free or replace the phone's storage"
    )
