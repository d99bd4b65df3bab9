"""Batching across clients: calls that wait for the same signature are computed together.

What TF Serving calls a shared batch scheduler: a queue of limited length and some threads that each
take the oldest call and whatever else fits to it.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import logging
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent import futures

import grpc
import numpy as np

from serving.call_limits import CallLimits
from serving.request_error import RequestError, invalid
from serving.server_options import BatchingOptions

Arrays = Mapping[str, np.ndarray]
Compute = Callable[[Arrays], Arrays]

_log = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False)
class _Task:
    key: Hashable
    compute: Compute
    inputs: Arrays
    rows: int | None
    limits: CallLimits
    arrived: float
    answer: futures.Future[Arrays]
    given_up: bool = False


def _too_late() -> RequestError:
    return RequestError(
        grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed before the answer was there"
    )


def _gone() -> RequestError:
    return RequestError(grpc.StatusCode.CANCELLED, "the caller went away")


def _stopping() -> RequestError:
    return RequestError(grpc.StatusCode.UNAVAILABLE, "the server is stopping")


def _answered(task: _Task, answer: Arrays | RequestError) -> None:
    # A batcher that is closed has answered those who still waited.
    with contextlib.suppress(futures.InvalidStateError):
        if isinstance(answer, RequestError):
            task.answer.set_exception(answer)
        else:
            task.answer.set_result(answer)


class Batcher:
    """A queue of calls and the threads that compute them; use it from any number of threads."""

    def __init__(self, options: BatchingOptions, observe: Callable[[int], None] = lambda _: None):
        """Start the threads.

        Args:
          options: how calls are joined.
          observe: is told the number of rows of every batch that is computed.
        """
        self._options = options
        self._observe = observe
        self._queue: collections.deque[_Task] = collections.deque()
        # Keys for which a thread waits for more: another thread would take these calls away.
        self._gathering: set[Hashable] = set()
        self._computed: list[_Task] = []
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True)
            for number in range(options.threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def queued(self) -> int:
        """How many calls wait."""
        return len(self._queue)

    def run(
        self, key: Hashable, compute: Compute, inputs: Arrays, rows: int | None, limits: CallLimits
    ) -> Arrays:
        """Compute, together with other waiting calls of the same key, and wait for the answer.

        Args:
          key: calls of one key can be joined: their arrays have the same names, and the same shapes
            but for axis 0.
          compute: computes the outputs of arrays joined along axis 0.
          inputs: arrays of `rows` rows.
          rows: how many rows inputs and outputs have; None for a call that cannot be joined.
          limits: a call whose deadline passes or whose caller goes away is not computed, or not any
            further.

        Raises:
          RequestError: what `compute` raised for these inputs; INVALID_ARGUMENT for too many rows;
            RESOURCE_EXHAUSTED where too many calls wait; DEADLINE_EXCEEDED, CANCELLED, or
            UNAVAILABLE once the batcher is closed.
        """
        most_rows = self._options.max_request_rows
        if rows is not None and rows > most_rows:
            raise invalid(
                f"the request has {rows} rows, more than {most_rows}: send several requests"
            )
        task = _Task(
            key if rows is not None else object(),
            compute,
            inputs,
            rows,
            limits,
            time.monotonic(),
            futures.Future(),
        )
        with self._changed:
            if self._closed:
                raise _stopping()
            if len(self._queue) >= self._options.max_queued:
                raise RequestError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"queue full: {len(self._queue)} requests are waiting; try again later",
                )
            self._queue.append(task)
            self._changed.notify_all()
        withdraw = functools.partial(self._withdraw, task)
        if limits.on_end is not None and not limits.on_end(withdraw):
            withdraw()
        try:
            return task.answer.result(limits.remaining())
        except TimeoutError:
            withdraw()
            raise _too_late() from None
        except futures.CancelledError:
            raise _too_late() if limits.expired() else _gone() from None

    def close(self, seconds: float) -> None:
        """Take no more calls, and refuse those that wait and the rest of what is computed.

        Args:
          seconds: how long to wait for the batches that are computed. Their callers are refused
            then, and the threads are left behind.
        """
        until = time.monotonic() + seconds
        with self._changed:
            self._closed = True
            waiting = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        for task in waiting:
            if task.answer.set_running_or_notify_cancel():
                _answered(task, _stopping())
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))
        for task in list(self._computed):
            _answered(task, _stopping())

    def _withdraw(self, task: _Task) -> None:
        task.given_up = True
        with self._changed:
            if task in self._queue:
                self._queue.remove(task)
        task.answer.cancel()

    def _work(self) -> None:
        while tasks := self._next_batch():
            tasks = [task for task in tasks if task.answer.set_running_or_notify_cancel()]
            with self._changed:
                self._computed.extend(tasks)
            self._answer(tasks)
            with self._changed:
                self._computed = [task for task in self._computed if task not in tasks]
            # A thread without work would keep a model in memory that nobody serves any more.
            del tasks

    def _next_batch(self) -> list[_Task]:
        """Wait for calls and take those to compute together; none once the batcher is closed."""
        with self._changed:
            while True:
                first = next((one for one in self._queue if one.key not in self._gathering), None)
                if first is not None:
                    break
                if self._closed:
                    return []
                self._changed.wait()
            self._queue.remove(first)
            tasks = [first]
            self._gathering.add(first.key)
            try:
                while not self._gather(tasks) and not self._closed:
                    left = first.arrived + self._options.delay_seconds - time.monotonic()
                    if left <= 0.0:
                        break
                    self._changed.wait(left)
            finally:
                self._gathering.remove(first.key)
                self._changed.notify_all()
            return tasks

    def _gather(self, tasks: list[_Task]) -> bool:
        """Move waiting calls of the same key into a batch; whether it is full."""
        if tasks[0].rows is None:
            return True
        room = self._options.max_batch_size - sum(task.rows or 0 for task in tasks)
        for task in [task for task in self._queue if task.key == tasks[0].key]:
            # A call that does not fit is the first of the next batch, not passed over for others.
            if (task.rows or 0) > room:
                return True
            self._queue.remove(task)
            tasks.append(task)
            room -= task.rows or 0
        return room <= 0

    def _refusal(self, task: _Task) -> RequestError | None:
        """Why a call is not computed any further; None where its answer is wanted."""
        if task.limits.expired():
            return _too_late()
        if task.given_up:
            return _gone()
        return _stopping() if self._closed else None

    def _answer(self, tasks: Sequence[_Task]) -> None:
        """Answer every call: all together, or in halves where they fail together.

        One bad call of many is then found in few computations, and the others still share theirs.
        """
        for task in tasks:
            refusal = self._refusal(task)
            if refusal is not None:
                _answered(task, refusal)
        tasks = [task for task in tasks if not task.answer.done()]
        if not tasks:
            return
        try:
            answers: Sequence[Arrays | RequestError] = self._outputs(tasks)
        except RequestError as error:
            answers = [error] * len(tasks)
        # Whatever happens, every caller gets an answer and the thread goes on.
        except Exception:
            _log.exception("a batch of %d calls failed", len(tasks))
            failure = RequestError(
                grpc.StatusCode.INTERNAL, "the model failed; see the server's log"
            )
            answers = [failure] * len(tasks)
        if isinstance(answers[0], RequestError) and len(tasks) > 1:
            half = len(tasks) // 2
            self._answer(tasks[:half])
            self._answer(tasks[half:])
            return
        for task, answer in zip(tasks, answers, strict=True):
            _answered(task, answer)

    def _outputs(self, tasks: Sequence[_Task]) -> list[Arrays]:
        """The outputs of every call, computed together."""
        first = tasks[0]
        if first.rows is None:
            self._observe(1)
            return [first.compute(first.inputs)]
        ends = np.cumsum([task.rows for task in tasks]).tolist()
        inputs = _joined([task.inputs for task in tasks])
        parts = []
        for begin in range(0, ends[-1], self._options.max_batch_size):
            # Calls that are joined fit into one part, so that a call with several is alone.
            refusal = self._refusal(first) if begin else None
            if refusal is not None:
                raise refusal
            end = min(begin + self._options.max_batch_size, ends[-1])
            self._observe(end - begin)
            parts.append(first.compute({name: array[begin:end] for name, array in inputs.items()}))
        outputs = _joined(parts)
        if any(len(array) != ends[-1] for array in outputs.values()):
            raise RequestError(
                grpc.StatusCode.INTERNAL,
                f"the model did not answer {ends[-1]} rows with as many:"
                f" { {name: list(array.shape) for name, array in outputs.items()} }",
            )
        return [
            {name: array[begin:end] for name, array in outputs.items()}
            for begin, end in zip([0, *ends], ends, strict=False)
        ]


def _joined(parts: Sequence[Arrays]) -> Arrays:
    """Arrays joined by name along axis 0."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
