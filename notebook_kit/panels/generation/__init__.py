"""What a GenerationView is made of: a model that writes, what is known of each step, and what it looked at."""
