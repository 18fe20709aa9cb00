"""Events that a projection could not apply, and those that an operator discarded."""
