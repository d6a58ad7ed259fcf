"""On PYTHONPATH, every Python lets only connections within this machine through: loopback addresses and Unix sockets.

Compiled libraries with sockets of their own, and programs that are not Python, are not held back.
"""

import errno
import ipaddress
import socket
import sys

CONNECTING = {"socket.connect", "socket.sendto", "socket.sendmsg"}
LOOKING_UP = {"socket.getaddrinfo", "socket.gethostbyname"}
OWN_NAMES = {None, "", b"", "localhost", b"localhost", socket.gethostname()}


def _is_near(host) -> bool:
    if host in OWN_NAMES:
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host).is_loopback
    except ValueError:
        return False


def _refuse(event: str, arguments: tuple) -> None:
    if event in CONNECTING:
        address = arguments[1]  # a tuple for the Internet, a path for a Unix socket, None on a connected one
        if isinstance(address, tuple) and not _is_near(address[0]):
            raise OSError(errno.ENETUNREACH, f"there is no network here: {address[0]}")
    elif event in LOOKING_UP and not _is_near(arguments[0]):
        raise socket.gaierror(socket.EAI_AGAIN, f"there is no network here: {arguments[0]}")


sys.addaudithook(_refuse)
