"""Cases of a client library: each runs by itself, says how it went, and cleans up behind itself.

A case is a function marked with @case. `run` runs them all and exits 1 when one failed.
"""

import sys
import time
import traceback

CASES = []


def case(function):
    """Marks a function as a case; its docstring says what it shows."""
    CASES.append(function)
    return function


def until(what, probe, seconds=20):
    """Polls until `probe` gives something true; fails after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def refused(status, words, action):
    """Runs `action`, which must fail with this status (or one of these) and these words in its message."""
    import docker.errors

    try:
        action()
    except docker.errors.APIError as error:
        accepted = status if isinstance(status, tuple) else (status,)
        assert error.status_code in accepted, f"{error.status_code} instead of {status}: {error}"
        assert words in str(error), f"{words!r} is not in: {error}"
        return
    raise AssertionError(f"this should have been refused with {status}: {words}")


def run(*given):
    """Runs the cases whose name contains an argument of the command line, or all; prints a line for each."""
    failed = 0
    wanted = sys.argv[1:]
    chosen = [f for f in CASES if not wanted or any(word in f.__name__ for word in wanted)]
    for function in chosen:
        started = time.monotonic()
        try:
            function(*given)
            print(f"ok {function.__name__} ({time.monotonic() - started:.2f} s)", flush=True)
        except BaseException:  # noqa: B902 -- a case must not take the others with it
            failed += 1
            print(f"FAILED {function.__name__}\n{traceback.format_exc()}", flush=True)
    print(f"{len(chosen) - failed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)
