"""What releases of the client do not share, in one place, so that one test can be run with each of them."""

import inspect
from importlib.metadata import version

import pytest
from daytona.common import errors as own

RELEASE = version("daytona")
OLD = tuple(map(int, RELEASE.split(".")[:2])) < (0, 140)  # from 2025: ends of lines are cut off results, fewer classes of errors


class Errors:
    """The client's classes of errors; where a release has none for a failure, the one that all its errors have."""

    def __getattr__(self, name):
        return getattr(own, name, own.DaytonaError)


errors = Errors()


def since(owner, *names):
    """Skips the test when the client's release has no such calls yet."""
    missing = [n for n in names if not hasattr(owner, n)]
    if missing:
        pytest.skip(f"daytona {RELEASE} has no {', '.join(missing)} of {type(owner).__name__}")


async def done(value):
    """The value, or what the coroutine in its place returns: the same test then serves both kinds of client."""
    return await value if inspect.isawaitable(value) else value
