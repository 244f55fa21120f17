"""focusd: a headless focus-stacking instrument, driven by MQTT."""

__version__ = "0.1.0"
