"""Reading the topic with Faust: in batches, by a consumer that survives broker outages."""
