"""The contract on the wire: topics, payloads, and the MQTT client. The only package that imports paho."""
