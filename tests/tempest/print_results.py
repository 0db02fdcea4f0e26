"""Prints what a stream of subunit holds, a test in a line of JSON: print_results.py < STREAM.

It runs in Tempest's environment, which has the packages that read such a stream.
"""

import json
import sys
from typing import Any

import subunit
import testtools


def show(test: dict[str, Any]) -> None:
    """Print one test."""
    began, ended = (*test["timestamps"], None, None)[:2]
    found = {
        "id": test["id"],
        "status": test["status"],
        "time_s": (ended - began).total_seconds() if began and ended else 0.0,
        "details": "" if test["status"] == "success" else details(test["details"]),
    }
    sys.stdout.write(json.dumps(found) + "\n")


def details(given: dict[str, Any]) -> str:
    """Return why a test failed or was skipped; its log is long and left out."""
    words = [one.as_text().strip() for name, one in given.items() if "log" not in name]
    return "\n".join(word for word in words if word)


result = testtools.StreamToDict(show)
result.startTestRun()
subunit.ByteStreamToStreamResult(sys.stdin.buffer, non_subunit_name="stdout").run(result)
result.stopTestRun()
