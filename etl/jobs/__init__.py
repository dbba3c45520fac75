"""What is done once: jobs return models and print nothing."""
