"""Spans of OpenTelemetry's SDK for Python, straight to Kafka, as the relay reads them.

Writes some traces of nine spans and prints their ids, when Kafka has them:

    python -m venv venv && venv/bin/pip install -r requirements.txt
    OTEL_SERVICE_NAME=python venv/bin/python spans_to_kafka.py localhost:9092 20
"""

import sys

from confluent_kafka import Producer
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult


class KafkaSpanExporter(SpanExporter):
    """Writes each export as one record. It has succeeded when Kafka has acknowledged it."""

    def __init__(self, brokers, topic="tracing-topic"):
        self.topic, self.failed = topic, []
        self.producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True, "max.in.flight": 1, "compression.type": "lz4"})

    def export(self, spans):
        before = len(self.failed)
        self.producer.produce(self.topic, encode_spans(spans).SerializeToString(), on_delivery=self.delivered)
        self.producer.flush()  # at most delivery.timeout.ms, 5 minutes by default
        return SpanExportResult.FAILURE if len(self.failed) > before else SpanExportResult.SUCCESS

    def delivered(self, error, _):
        if error is not None:
            self.failed.append(error)


def main(brokers, traces):
    exporter, provider = KafkaSpanExporter(brokers), TracerProvider()
    # A record is at most 1 MB by default: fewer spans than the SDK's 512 for one, if yours are large.
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=10_000, max_export_batch_size=256))
    tracer, ids = provider.get_tracer("spans_to_kafka"), []
    for _ in range(traces):
        with tracer.start_as_current_span("root") as root:
            ids.append(f"{root.get_span_context().trace_id:032x}")
            for i in range(8):
                with tracer.start_as_current_span(f"child-{i}"):
                    pass
    provider.shutdown()
    if exporter.failed:
        sys.exit(f"Kafka has not taken {len(exporter.failed)} record(s): {exporter.failed[0]}")
    print("\n".join(ids))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
