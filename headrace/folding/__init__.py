"""How events become rows: the fold, blocked groups, a row's history, the rows that a projector remembers."""
