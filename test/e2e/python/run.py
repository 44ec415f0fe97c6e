"""Runs the suite and closes with one plain line of counts."""

import sys

import pytest


class Count:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed += 1
        elif report.skipped:
            self.skipped += 1
        elif report.when == "call":
            self.passed += 1


count = Count()
status = pytest.main(["-q", "-ra", "-p", "no:cacheprovider", "--tb=short", *sys.argv[1:]], plugins=[count])
print(f"python: {count.passed} passed, {count.failed} failed, {count.skipped} skipped")
sys.exit(0 if status == 0 and count.passed else 1)
