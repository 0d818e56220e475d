"""A producer with traces of its own: kicks a job off inside a span of its request, and prints the orchestration's id.

Run by the tests of tracing as a process: `python -m tests.system.traced_producer JOB_NAME PARAMS COUNT`.
"""

from __future__ import annotations

import asyncio
import json
import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from daemon import Client


async def main(job_name: str, params: str, count: str) -> None:
    """Kick off `count` instances with the same params."""
    async with Client() as client:
        with trace.get_tracer("shop").start_as_current_span("POST /orders"):
            orchestration = await client.kick_off(job_name, [json.loads(params)] * int(count))
    print(orchestration.id)


if __name__ == "__main__":
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    asyncio.run(main(*sys.argv[1:]))
    provider.shutdown()
