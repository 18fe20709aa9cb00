"""The tests: unit without I/O, integration on real servers, acceptance with worker processes, faults under load."""
