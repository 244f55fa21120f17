"""Whole methods of other programs, to compare with: each step as they do it, in memory that does not grow."""
