"""Ports and the way in to them. The official client has no calls for these; its API client does."""

import json
import os
import time
import urllib.error
import urllib.request

from daytona_toolbox_api_client import PortApi

SERVER = """
import http.server, json
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        if self.path == "/from":
            self.send_response(302); self.send_header("Location", "/to"); self.send_header("Content-Length", "0"); self.end_headers(); return
        out = json.dumps({"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(out))); self.end_headers(); self.wfile.write(out)
    do_POST = do_PUT = do_GET
import socket
class S(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ":" in "ADDRESS" else socket.AF_INET
S(("ADDRESS", PORT), H).serve_forever()
"""


def serve(box, address, port):
    box.fs.upload_file(SERVER.replace("ADDRESS", address).replace("PORT", str(port)).encode(), f"server{port}.py")
    box.process.exec(f"nohup python3 server{port}.py >server{port}.log 2>&1 </dev/null &")
    api = PortApi(box._toolbox_api)
    for _ in range(200):
        if api.is_port_in_use(port).is_in_use:
            return api
        time.sleep(0.02)
    raise AssertionError(box.process.exec(f"cat server{port}.log").result)


def ask(box, path, method="GET", data=None):
    url = f"{box.toolbox_proxy_url.rstrip('/')}/{box.id}/proxy/{path}"
    request = urllib.request.Request(url, data=data, method=method, headers={"Authorization": "Bearer " + os.environ["DAYTONA_API_KEY"]})
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as e:
        return e.code, json.load(e)


def test_ports(base):
    api = serve(base, "127.0.0.1", 3111)
    serve(base, "::1", 3112)
    own = base.process.exec("hostname -I").result.split()
    if own:
        serve(base, own[0], 3113)
    ports = api.get_ports().ports
    assert {3111, 3112} <= set(ports) and ports == sorted(ports)
    assert api.is_port_in_use(3999).is_in_use is False

    status, seen = ask(base, "3111/a%2Fb/%20c?d=e%26", "POST", b"body")
    assert (status, seen["method"], seen["path"], seen["body"]) == (200, "POST", "/a%2Fb/%20c?d=e%26", "body")
    headers = {k.lower(): v for k, v in seen["headers"].items()}
    assert headers["host"] == "localhost:3111" and headers["x-forwarded-host"]
    # no credential of the platform reaches the program
    assert not any("authorization" in k or "token" in k for k in headers) and os.environ["DAYTONA_API_KEY"] not in json.dumps(seen)
    assert ask(base, "3112/")[1]["path"] == "/"
    if own:
        assert ask(base, "3113/x")[1]["path"] == "/x"
    assert ask(base, "3111/from")[1]["path"] == "/to"  # the redirect stays at the port
    status, error = ask(base, "3999/")
    assert status == 502 and "3999" in error["message"] and error["source"] == "DAYTONA_DAEMON"
    assert ask(base, "65536/")[0] == 400 and ask(base, "0/")[0] == 400
