"""How events become rows: the fold, blocked groups, a row's history, a projector's cache of rows."""
