"""A NIR graph read back as an integer network: the file is checked first, then its conventions, then its nodes."""
