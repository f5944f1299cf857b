"""Networks as graphs of data flow."""
