"""``focusd calibrate``: what the rig itself can tell of its configuration."""
