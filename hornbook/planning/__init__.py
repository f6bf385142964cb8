"""What a model, data, a machine and hours allow: memory, time and money before any are spent."""
