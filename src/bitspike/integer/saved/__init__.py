"""The integer network as a folder, with its golden vectors and their replay."""
