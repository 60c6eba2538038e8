"""Forwards connections to 127.0.0.1:PORT here to 127.0.0.1:PORT in the network namespace of a process, as `ssh -L` does:
`PORT PID`."""

import ctypes, os, socket, sys, threading

CLONE_NEWNET = 0x40000000


def copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


port, pid = map(int, sys.argv[1:])
listener = socket.create_server(("127.0.0.1", port))
namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET) != 0:
    raise OSError(ctypes.get_errno(), "setns")
print("forwarding", flush=True)
while True:
    near, _ = listener.accept()
    far = socket.create_connection(("127.0.0.1", port))
    for ends in ((near, far), (far, near)):
        threading.Thread(target=copy, args=ends, daemon=True).start()
