"""GET /jobs lists the jobs, POST /jobs adds one with the text of the request."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pg8000.native


def query(statement, **parameters):
    host, port = os.environ["POSTGRES_HOST"], int(os.environ["POSTGRES_PORT"])
    with pg8000.native.Connection("postgres", host=host, port=port, database="postgres") as database:
        rows = database.run(statement, **parameters)
        names = [column["name"] for column in database.columns or []]
    return [dict(zip(names, row)) for row in rows or []]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(query("select id, text, result from jobs order by id"))

    def do_POST(self):
        text = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        self.answer(query("insert into jobs (text) values (:text) returning id, text", text=text))

    def answer(self, rows):
        body = json.dumps(rows).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
