"""What focus and motion do to frames, measured: sharpness, curves through focus, smear. Pure."""
