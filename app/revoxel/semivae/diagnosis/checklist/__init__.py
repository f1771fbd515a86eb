"""What to look at before a training and after it, each with what to do if it is not right."""
