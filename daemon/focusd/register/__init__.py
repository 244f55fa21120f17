"""Frames laid on each other: where each lies, how bright it is, and which do not belong."""
