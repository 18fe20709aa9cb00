"""How Faust reads the topic: in batches, on a consumer that outlives the broker."""
