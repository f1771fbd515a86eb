"""Details for a coarse CT from two X-ray views: network, loss, bases, inference."""
