"""Events: the envelope and its rules, the content modes, the refusals, the record on the topic."""
