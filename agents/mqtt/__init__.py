"""The bridge from the MQTT broker to the outbox."""
