"""Fixtures for tests of searches in processes of their own."""

import pytest
from search_runs import Run


@pytest.fixture(autouse=True)
def nothing_goes_on():
    """A search that a failed test leaves behind would go on for ever, and slow down all other tests."""
    yield
    for process in Run.started:
        process.kill()  # nothing happens to one that has ended; workers end by themselves
        process.wait(10)
    Run.started.clear()
