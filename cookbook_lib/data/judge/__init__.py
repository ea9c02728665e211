"""Judges that write: what they are asked, what they may answer, and how the answer is read."""
