"""Map contents as metrics for Prometheus, on loopback.

Shows:  a map read whenever somebody asks, so that nothing runs in between. The package
        prometheus_client writes the text where it is installed, else this file does.
Needs:  root, Linux 4.17.
Run:    sudo python examples/export_metrics.py [PORT]     until Ctrl-C, then
        curl http://127.0.0.1:9435/metrics

Expected output of curl (numbers of x86-64; 257 is openat(2)):

    # HELP system_calls_total System calls since the exporter started.
    # TYPE system_calls_total counter
    system_calls_total{number="9"} 21.0
    system_calls_total{number="257"} 9.0
"""

from __future__ import annotations

import contextlib
import http.server
import pathlib
import sys
import types
from typing import Any

import pyebpf

try:
    import prometheus_client
    import prometheus_client.core
except ImportError:
    prometheus_client = None  # type: ignore[assignment]

ENDIAN = "el" if sys.byteorder == "little" else "eb"
OBJECT = pathlib.Path(__file__).parents[1] / "tests" / "data" / f"count_syscalls.{ENDIAN}.o"
NAME, HELP = "system_calls", "System calls since the exporter started."


def text(counts: pyebpf.Map[Any, Any]) -> bytes:
    if prometheus_client is not None:
        family = prometheus_client.core.CounterMetricFamily(NAME, HELP, labels=["number"])
        for number, count in sorted(counts.items()):
            family.add_metric([str(number)], sum(count))
        registry = types.SimpleNamespace(collect=lambda: [family])
        return bytes(prometheus_client.generate_latest(registry))
    lines = [f"# HELP {NAME}_total {HELP}\n# TYPE {NAME}_total counter\n"]
    for number, count in sorted(counts.items()):
        lines.append(f'{NAME}_total{{number="{number}"}} {float(sum(count))}\n')
    return "".join(lines).encode()


class Page(http.server.BaseHTTPRequestHandler):
    """Answers with the map as it is now."""

    counts: pyebpf.Map[Any, Any]

    def do_GET(self) -> None:  # noqa: D102
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.end_headers()
        self.wfile.write(text(self.counts))

    def log_message(self, *_: object) -> None: ...  # noqa: D102


def main(port: int) -> None:
    with pyebpf.load(OBJECT) as bpf, http.server.HTTPServer(("127.0.0.1", port), Page) as serving:
        Page.counts = bpf.maps["counts"]
        bpf.attach()
        print(f"http://127.0.0.1:{serving.server_port}/metrics", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            serving.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9435)
