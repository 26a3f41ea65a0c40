"""What learns a policy from the log or from full-information tables, an algorithm a file."""
