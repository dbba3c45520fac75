"""What a user of a general loader would write, each run in a virtual environment of its own."""
