"""What a worker process does: it receives a function, then jobs, and sends back what the function returns.

Messages to a worker are ``("function", call, bytes)`` and ``("job", place, job)``. It answers ``("begun", call)`` when the function is
there, then ``("result", call, place, value)`` or ``("failed", call, place, exception or None, traceback)``: a worker without a job may be
asked for its answers in a later call. They are pickled, as everything between the processes of one program: what arrives here was sent by
the process that started this one.
"""

import os
import pickle
import signal
import threading
import traceback
from collections.abc import Mapping
from multiprocessing import connection, parent_process
from typing import Any

from jknas.workers.environment import apply_jax_settings


def serve(pipe: connection.Connection, settings: Mapping[str, Any]) -> None:
    """Do jobs until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the process that started this one, which ends it
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    apply_jax_settings(settings)
    function: Any = None
    call = 0
    try:
        while True:
            kind, *content = pipe.recv()
            if kind == "function":
                function = None  # two functions, with the programs that they hold, are never in memory at a time
                call, payload = content
                function, answer = _loaded(call, payload)
            else:
                answer = _done(function, call, *content)
            pipe.send_bytes(answer)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _loaded(call: int, payload: bytes) -> tuple[Any, bytes]:
    try:
        return pickle.loads(payload), pickle.dumps(("begun", call))
    except Exception as error:  # told to the driver, which raises it
        return None, _failure(call, None, error)


def _done(function: Any, call: int, place: int, job: Any) -> bytes:
    try:
        return pickle.dumps(("result", call, place, function(job)))
    except Exception as error:
        return _failure(call, place, error)


def _failure(call: int, place: int | None, error: Exception) -> bytes:
    text = "".join(traceback.format_exception(error))
    try:
        told = pickle.dumps(("failed", call, place, error, text))
        pickle.loads(told)
    except Exception:  # an exception that cannot travel is told as text alone
        return pickle.dumps(("failed", call, place, None, text))
    return told


def _end_with_the_driver() -> None:
    """End this process at once when the one that started it is gone: it may be busy for long, and nobody waits for the result."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
