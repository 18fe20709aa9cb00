"""From the topic to the rows of a projection."""
