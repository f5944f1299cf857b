"""What every call of torch means as operations of the canonical graph: the table, and a file for each kind of call."""
