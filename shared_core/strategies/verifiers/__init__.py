"""What an answer is worth, seen before the caller gets it: from a draft to a probability."""
