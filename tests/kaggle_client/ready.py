"""Kaggle's client, loaded once: calls of the `kaggle` beside this file are answered by forks in a tenth of the time."""

import json
import os
import socket
import sys
import traceback

from kaggle.cli import main

listening = socket.socket(socket.AF_UNIX)
listening.bind(os.environ["READY"])
listening.listen()
while True:
    call, _ = listening.accept()
    words, streams, _, _ = socket.recv_fds(call, 65536, 2)
    if os.fork():
        for stream in streams:
            os.close(stream)
        call.close()
        continue
    for number, stream in zip((1, 2), streams):
        os.dup2(stream, number)
    sys.argv, code = ["kaggle", *json.loads(words)], 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code or 0
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    call.send(str(code).encode())
    os._exit(0)
