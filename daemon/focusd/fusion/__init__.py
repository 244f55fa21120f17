"""Many frames in, one sharp image and its depth out. Arrays only: no files, no clock, no threads."""

from focusd.fusion.fusion import Fusion, FusionResult, Method

__all__ = ["Fusion", "FusionResult", "Method"]
