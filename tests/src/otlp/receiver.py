"""A receiver of OTLP over HTTP, by the published protocol: receiver.py DIRECTORY [PORT]

It prints the port that it listens on. What it accepts is appended to DIRECTORY/logs, a line of JSON for each log record
with its resource, and to DIRECTORY/metrics, one for each point of a metric. What it answers is in DIRECTORY/answer, read before each
request: `ok`, a status with seconds to wait (`503 1`), `partial N` (rejects the last N records), `die` (ends without an
answer, after it has accepted), or `slow SECONDS`. DIRECTORY/cert.pem and key.pem make it speak TLS; DIRECTORY/token is
what Authorization must be.
"""

import gzip
import http.server
import json
import os
import socketserver
import ssl
import sys
import time

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics

directory = sys.argv[1]


def text(name):
    try:
        with open(os.path.join(directory, name)) as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def append(name, lines):
    with open(os.path.join(directory, name), "a") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines))


def value(any_value):
    kind = any_value.WhichOneof("value")
    return getattr(any_value, kind) if kind else None


def attributes(pairs):
    found = {pair.key: value(pair.value) for pair in pairs}
    assert len(found) == len(pairs), "a key stands twice"
    return found


def records(request):
    for resource in request.resource_logs:
        for scope in resource.scope_logs:
            for record in scope.log_records:
                yield {
                    "resource": attributes(resource.resource.attributes),
                    "scope": scope.scope.name,
                    "time": record.time_unix_nano,
                    "observed": record.observed_time_unix_nano,
                    "severity": record.severity_text,
                    "severity_number": record.severity_number,
                    "event": record.event_name,
                    "body": value(record.body),
                    "attributes": attributes(record.attributes),
                }


def points(request):
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                data = getattr(metric, kind)
                for point in data.data_points:
                    found = {
                        "resource": attributes(resource.resource.attributes),
                        "scope": scope.scope.name,
                        "name": metric.name,
                        "unit": metric.unit,
                        "kind": kind,
                        "since": point.start_time_unix_nano,
                        "time": point.time_unix_nano,
                        "attributes": attributes(point.attributes),
                    }
                    if kind != "gauge":
                        found["cumulative"] = data.aggregation_temporality == 2
                    if kind == "histogram":
                        found |= {"count": point.count, "sum": point.sum, "buckets": list(point.bucket_counts), "bounds": list(point.explicit_bounds)}
                    else:
                        found["value"] = point.as_int
                    yield found


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        append("requests", [{"path": self.path, "headers": {name.lower(): value for name, value in self.headers.items()}, "bytes": len(body)}])
        answer = (text("answer") or "ok").split()
        if text("token") and self.headers.get("Authorization") != text("token"):
            return self.answer(401)
        if answer[0].isdigit():
            return self.answer(int(answer[0]), {"Retry-After": answer[1]} if len(answer) > 1 else {})
        if self.headers["Content-Type"] != "application/x-protobuf":
            return self.answer(415)
        if self.path == "/v1/logs":
            request, reply = logs.ExportLogsServiceRequest.FromString(body), logs.ExportLogsServiceResponse()
            found = list(records(request))
            if answer[0] == "partial":
                rejected = min(int(answer[1]), len(found))
                reply.partial_success.rejected_log_records = rejected
                reply.partial_success.error_message = "the last ones are too many"
                found = found[: len(found) - rejected]
            append("logs", found)
        elif self.path == "/v1/metrics":
            request, reply = metrics.ExportMetricsServiceRequest.FromString(body), metrics.ExportMetricsServiceResponse()
            append("metrics", list(points(request)))
        else:
            return self.answer(404)
        if answer[0] == "die":
            os._exit(1)
        if answer[0] == "slow":
            time.sleep(float(answer[1]))
        self.answer(200, {"Content-Type": "application/x-protobuf"}, reply.SerializeToString())

    def answer(self, status, headers={}, body=b""):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True


server = Server(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0), Receiver)
if os.path.exists(os.path.join(directory, "cert.pem")):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
