"""One explanation: what is read, what is explained, and the two passes between."""
