"""Print why requests wait: python client_example.py http://127.0.0.1:8051"""

import sys

from synergy.client import ApiError, connect


def main(endpoint: str) -> None:
    client = connect(endpoint)
    for request in client.requests.list(states=["QUEUED"], limit=10):
        explained = client.requests.explain(request["id"])
        print(request["name"], explained["reason"], explained["text"])
    try:
        client.requests.explain("nosuch")
    except ApiError as error:
        print(error.status, error.code)


main(sys.argv[1])
