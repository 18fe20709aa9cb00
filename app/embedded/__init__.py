"""The embedded PostgreSQL, Apache Kafka and MQTT broker, for a machine without these servers."""
