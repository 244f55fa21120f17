"""The only modules that import gpiozero and picamera2."""
