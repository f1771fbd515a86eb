"""Networks from difference images to maps with standard deviations, their loss, and their use."""
