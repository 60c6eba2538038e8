"""Datagrams on the broadcast channel that nobody signed: `capture FILE` keeps the next one that is heard, `flood
FILE COUNT [RATE]` sends as many forged ones, at most RATE a second, and prints how many it has sent."""

import json, socket, struct, sys, time

GROUP, PORT = "239.255.0.1", 7001


def own_address():
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    probe.connect(("10.77.0.1", 9))
    return probe.getsockname()[0]


def capture(path):
    heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    heard.bind((GROUP, PORT))
    member = struct.pack("4s4s", socket.inet_aton(GROUP), socket.inet_aton(own_address()))
    heard.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    print("listening", flush=True)
    payload, _ = heard.recvfrom(65536)
    open(path, "wb").write(payload)


def forged(genuine):
    """Returns the kinds of forged datagram: replayed, changed, unsigned, signed by another key, and garbage."""
    changed = json.loads(genuine)
    changed["service"]["host"] = "10.66.6.11"
    changed["sequence"] = changed.get("sequence", 0) + 1
    unsigned = {name: value for name, value in changed.items() if name not in ("signature", "key_id")}
    other_key = dict(changed, signature="ab" * 32)
    encoded = [json.dumps(message).encode() for message in (changed, unsigned, other_key)]
    return [genuine, *encoded, b"\x00\xff{garbage", b"[" * 1400, b"x" * 5000]


def flood(path, count, rate=None):
    kinds = forged(open(path, "rb").read())
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own_address()))
    sender.connect((GROUP, PORT))
    began, sent = time.monotonic(), 0
    while sent < count:
        try:
            sender.send(kinds[sent % len(kinds)])
        except OSError:
            continue
        sent += 1
        if rate and sent % 20 == 0:
            time.sleep(max(0, began + sent / rate - time.monotonic()))
    print("sent", sent, "in", round(time.monotonic() - began, 2), "s", flush=True)


if sys.argv[1] == "capture":
    capture(sys.argv[2])
else:
    flood(sys.argv[2], *map(int, sys.argv[3:]))
