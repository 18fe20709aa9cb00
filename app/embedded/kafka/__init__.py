"""The embedded Apache Kafka: its jars, its files and its process."""
