"""The stand-in for an API server as a process: `python -m tests.lab.kube_serve ADDRESS PORT`, told on stdin what to do.

Each line is a JSON object: `{"apply": [objects]}`, `{"delete": [objects]}`, both in one, or `{"forget": true}` to
cut every watch and have all listed again. It answers each with a line.
"""

from __future__ import annotations

import json
import socket
import sys

from tests.lab.kube_api import KubeApi


def main(address: str, port: int) -> None:
    """Serve until stdin ends."""
    with KubeApi(lambda _: socket.create_server((address, port))) as api:
        print(api.url, flush=True)
        for line in sys.stdin:
            told = json.loads(line)
            api.apply(*told.get("apply", ()))
            api.delete(*told.get("delete", ()))
            if told.get("forget"):
                api.forget()
                api.cut()
            print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
