"""``focusd fuse``: image files in, or the frames of a run, one sharp image out."""
