"""
A receiver of OTLP over HTTP for tests of the exporter, which is not ours.

It takes requests apart with the official messages of OpenTelemetry and answers as it is told to:

    python otlp_receiver.py PORT

- `POST /v1/metrics`, `/v1/traces`: what an exporter sends.
- `GET /ready`; `GET /received`: all that was sent so far as JSON, a line a request.
- `GET /behave?status=503&retry_after=2&delay=1.5&rejected=3&say=text`: how requests are answered
  from now on. Of a request that is not answered with 200 the message is not kept.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

LOCK = threading.Lock()
RECEIVED: list[dict[str, Any]] = []
BEHAVIOUR: dict[str, str] = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/received":
            with LOCK:
                lines = [json.dumps(request) for request in RECEIVED]
            self.answer(200, "\n".join(lines).encode())
        elif parts.path == "/behave":
            with LOCK:
                BEHAVIOUR.clear()
                BEHAVIOUR.update({name: said[0] for name, said in parse_qs(parts.query).items()})
            self.answer(200, b"")
        else:
            self.answer(200 if parts.path == "/ready" else 404, b"")

    def do_POST(self) -> None:
        at = time.monotonic()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with LOCK:
            behaviour = dict(BEHAVIOUR)
        time.sleep(float(behaviour.get("delay", 0)))
        status = int(behaviour.get("status", 200))
        request: Any
        response: Any
        if self.path.endswith("/v1/metrics"):
            request, response = ExportMetricsServiceRequest(), ExportMetricsServiceResponse()
        else:
            request, response = ExportTraceServiceRequest(), ExportTraceServiceResponse()
        request.ParseFromString(body)
        size = request.ByteSize()
        request.DiscardUnknownFields()
        # What the messages do not know would be a field of ours that is wrong.
        unknown = request.ByteSize() != size
        if "rejected" in behaviour:
            partial = response.partial_success
            if self.path.endswith("/v1/metrics"):
                partial.rejected_data_points = int(behaviour["rejected"])
            else:
                partial.rejected_spans = int(behaviour["rejected"])
            partial.error_message = behaviour.get("say", "")
        note = {
            "path": self.path,
            "status": status,
            "at": at,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "unknown": unknown,
            "message": MessageToDict(request) if status == 200 else None,
        }
        with LOCK:
            RECEIVED.append(note)
        self.answer(status, response.SerializeToString(), behaviour.get("retry_after"))

    def answer(self, status: int, body: bytes, retry_after: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        with suppress(ConnectionError):  # whoever gave up does not listen
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Nothing: the output is the test's."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    server.serve_forever()
