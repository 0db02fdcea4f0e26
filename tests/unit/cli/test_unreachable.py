"""What a person reads when nobody answers."""

import socket

import pytest

from synergy.client import connect
from synergy.client.api import Unreachable


def test_a_service_that_is_away_is_told_in_words_and_not_in_objects() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can answer there
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unreachable) as caught:
            connect(endpoint).managers.list()
    help_text = str(caught.value)
    assert (
        f"Unable to establish connection to {endpoint}/v1/managers (Connection refused)"
        in help_text
    )
    assert "is synergy-service running" in help_text
    assert "HTTPConnection" not in help_text
    assert "Errno" not in help_text
