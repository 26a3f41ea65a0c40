"""What the gateway adds to a call: processor time and latency, beside nginx as the floor."""
