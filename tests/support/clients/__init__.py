"""Clients of a worker: HTTP, Kafka, MQTT, and other languages."""
