"""Stands in for curl on machines that have none: ``-s``, ``-H``, ``-d``, ``-w`` and one address."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from getopt import getopt


def main() -> None:
    """Sends the request, prints the answer."""
    words, addresses = sys.argv[1:], []
    # curl takes options after the address, getopt does not.
    if words and not words[1].startswith("-"):
        addresses.append(words.pop(1))
    options, rest = getopt(words, "sH:d:w:")
    headers = dict(value.split(": ", 1) for name, value in options if name == "-H")
    body = next((value.encode() for name, value in options if name == "-d"), None)
    request = urllib.request.Request([*addresses, *rest][0], body, headers)
    try:
        with urllib.request.urlopen(request) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode()
    print(text, end="")
    for name, value in options:
        if name == "-w":
            print(value.replace("%{http_code}", str(status)), end="")


main()
