#!/usr/bin/python3
"""A small site: answers with its version, and fails in the way that its version was made to fail."""
import http.server
import os
import socket
import sys
import threading
import time

VERSION = "@VERSION@"
FAULT = "@FAULT@"
REQUESTS_BEFORE_FAULT = 40

lock = threading.Lock()
seen_from_outside = 0


def settings(path="/etc/lab-site/site.conf"):
    values = {}
    with open(path) as lines:
        for line in lines:
            key, sign, value = line.partition("=")
            if sign and not key.lstrip().startswith("#"):
                values[key.strip()] = value.strip()
    return values


class Site(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        global seen_from_outside
        client = self.headers.get("X-Forwarded-For", "127.0.0.1").split(",")[0].strip()
        status = 200
        if self.path != "/healthz" and client != "127.0.0.1":
            with lock:
                seen_from_outside += 1
        if FAULT == "slow-failure" and self.path != "/healthz" and seen_from_outside > REQUESTS_BEFORE_FAULT:
            status = 500
        text = "ok\n" if self.path == "/healthz" else "%s lab-site %s on %s\n" % (GREETING, VERSION, socket.gethostname())
        if status != 200:
            text = "the connection pool is exhausted\n"
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Lab-Site", VERSION)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if FAULT == "dying-service":
    threading.Timer(1.0, lambda: (sys.stderr.write("lab-site: cannot open its cache\n"), os._exit(1))).start()
GREETING = settings().get("greeting", "hello from")
Server(("127.0.0.1", 8000), Site).serve_forever()
