"""What a decision costs the processor."""
