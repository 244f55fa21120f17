"""The rig that is not there: physics, optics and cameras that run focusd's real drivers."""
