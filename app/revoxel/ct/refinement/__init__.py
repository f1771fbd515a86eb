"""The main job of CT: a coarse volume in, a finer one out, consistent with it, with all that was checked."""
