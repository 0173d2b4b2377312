"""What was shown when: presentations, conditions, epochs and trials."""
