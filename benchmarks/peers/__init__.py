"""What Headrace is compared with. Run by an environment of their own (requirements/bench.txt), as a user would."""
