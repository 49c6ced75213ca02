"""Run a documented ``curl`` command, unchanged, against the application."""

from __future__ import annotations

import shlex

from tests.api import Answer, Api


async def curl(api: Api, command: str, **replaced: str) -> Answer:
    """The answer to the command; each upper-case word of ``replaced`` stands for a value, as in the documentation."""
    words = shlex.split(command.replace("\\\n", " "))
    for name, value in replaced.items():
        words = [word.replace(name, value) for word in words]
    assert words[:3] == ["curl", "-X", "POST"]
    headers, body = {}, b""
    options = iter(words[4:])
    for option in options:
        if option == "-H":
            name, value = next(options).split(": ", 1)
            headers[name] = value
        else:
            assert option == "-d"
            body = next(options).encode()
    return await api.post(content=body, headers=headers)
