"""The embedded MQTT broker: mosquitto or amqtt."""
