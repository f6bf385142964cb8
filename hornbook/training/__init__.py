"""What stages that train have in common."""
